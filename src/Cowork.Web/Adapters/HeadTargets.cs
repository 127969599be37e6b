using System.Globalization;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;

using Amazon.S3;
using Amazon.S3.Model;

using Cowork.Application;
using Cowork.Connectors;
using Cowork.Domain;

namespace Cowork.Web;

/// <summary>Where heads are sent as they are made: <c>Cowork:Audit:File</c>, <c>Cowork:Audit:Webhook</c>, <c>Cowork:Audit:S3</c>.</summary>
/// <param name="File">Absolute path; null: none.</param>
/// <param name="S3">Null: none.</param>
/// <param name="RetainDays">An object is locked for so long; 0: it is not.</param>
/// <param name="Compliance">Nobody ends the lock before its time, no administrator either; false: who has the right does.</param>
public sealed record HeadTargetSettings(string? File, Uri? Webhook, S3Settings? S3, int RetainDays, bool Compliance)
{
    const int RetainDaysDefault = 3_653;

    public static HeadTargetSettings None { get; } = new(null, null, null, 0, false);

    public bool Any => File is not null || Webhook is not null || S3 is not null;

    /// <exception cref="ArgumentException">A setting is wrong.</exception>
    public static HeadTargetSettings Read(IConfigurationSection audit)
    {
        Uri? webhook = null;
        if (audit.Text("Webhook") is { } text && (!Uri.TryCreate(text, UriKind.Absolute, out webhook) || webhook.Scheme is not ("http" or "https") || webhook.UserInfo.Length > 0))
        {
            throw audit.InvalidValue("Webhook", "an address like https://witness.example/heads");
        }
        return new(
            audit.Text("File") is { } file ? Path.GetFullPath(file) : null, webhook, S3Settings.Read(audit.GetSection("S3")),
            audit.Number("RetainDays", 0, 36_500) ?? RetainDaysDefault, audit.OneOf("Lock", "compliance", "governance") != "governance");
    }
}

/// <summary>A file with one head to a line. A line is on the disk before the next one is begun.</summary>
public sealed class HeadFileTarget(string path) : IHeadTarget
{
    public string Name => $"file {path}";

    public ValueTask<long?> Last(CancellationToken ct)
    {
        try
        {
            return new(File.Exists(path) ? HeadLine.Read(path) is [.., var last] ? last.Number : 0 : 0);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
        {
            throw new HeadNotTakenException(e.Message, e);
        }
    }

    public ValueTask Send(HeadLine head, CancellationToken ct)
    {
        try
        {
            using var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
            // What a killed host has begun to write is no head.
            var end = file.Length;
            for (file.Position = end; end > 0; end--)
            {
                file.Position = end - 1;
                if (file.ReadByte() == '\n')
                {
                    break;
                }
            }
            file.SetLength(end);
            file.Position = end;
            file.Write(Encoding.UTF8.GetBytes(head.ToJson() + "\n"));
            file.Flush(flushToDisk: true);
            return default;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new HeadNotTakenException(e.Message, e);
        }
    }
}

/// <summary>An address that each head is posted to, signed as RFC 9421 has it, with the digest of RFC 9530.</summary>
public sealed class HeadWebhookTarget(Uri address, SigningKeyring keys, HttpMessageHandler handler, TimeProvider clock) : IHeadTarget, IDisposable
{
    public static readonly TimeSpan AnswerMax = TimeSpan.FromSeconds(10);

    readonly HttpClient http = new(handler) { Timeout = AnswerMax };

    public string Name => $"webhook {address.GetLeftPart(UriPartial.Path)}";

    public ValueTask<long?> Last(CancellationToken ct) => default;

    public async ValueTask Send(HeadLine head, CancellationToken ct)
    {
        try
        {
            var body = Encoding.UTF8.GetBytes(head.ToJson());
            using var request = new HttpRequestMessage(HttpMethod.Post, address)
            {
                Content = new ByteArrayContent(body) { Headers = { ContentType = new MediaTypeHeaderValue("application/json") } },
            };
            foreach (var (name, value) in await Signed(body, ct))
            {
                request.Headers.TryAddWithoutValidation(name, value);
            }
            using var answer = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, ct);
            if (!answer.IsSuccessStatusCode)
            {
                throw new HeadNotTakenException($"It answered {(int)answer.StatusCode}.");
            }
        }
        catch (Exception e) when (e is HttpRequestException or EgressException)
        {
            throw new HeadNotTakenException(e.InnerException?.Message ?? e.Message, e);
        }
        catch (TaskCanceledException e) when (!ct.IsCancellationRequested)
        {
            throw new HeadNotTakenException("It did not answer in time.", e);
        }
    }

    public void Dispose() => http.Dispose();

    async ValueTask<IReadOnlyList<(string Name, string Value)>> Signed(byte[] body, CancellationToken ct)
    {
        var key = await keys.Current(SigningKeys.Heads, ct);
        var digest = $"sha-256=:{Convert.ToBase64String(SHA256.HashData(body))}:";
        var parameters = string.Create(
            CultureInfo.InvariantCulture,
            $"(\"@method\" \"@target-uri\" \"content-digest\" \"content-type\");created={clock.GetUtcNow().ToUnixTimeSeconds()};keyid=\"{key.Kid}\";alg=\"ecdsa-p256-sha256\"");
        var signed = $"\"@method\": POST\n\"@target-uri\": {address.AbsoluteUri}\n\"content-digest\": {digest}\n\"content-type\": application/json\n"
            + $"\"@signature-params\": {parameters}";
        var signature = await keys.SignData(key, Encoding.ASCII.GetBytes(signed), ct);
        return [("Content-Digest", digest), ("Signature-Input", $"sig1={parameters}"), ("Signature", $"sig1=:{Convert.ToBase64String(signature)}:")];
    }
}

/// <summary>A bucket with an object for each head, named by its number, and locked so that nobody replaces it.</summary>
public sealed class HeadBucketTarget(AmazonS3Client s3, S3Settings settings, int retainDays, bool compliance, TimeProvider clock) : IHeadTarget, IDisposable
{
    public string Name => $"s3://{settings.Bucket}/{settings.Prefix}";

    public ValueTask<long?> Last(CancellationToken ct) => default;

    public async ValueTask Send(HeadLine head, CancellationToken ct)
    {
        try
        {
            var body = Encoding.UTF8.GetBytes(head.ToJson() + "\n");
            var put = new PutObjectRequest
            {
                BucketName = settings.Bucket,
                Key = string.Create(CultureInfo.InvariantCulture, $"{settings.Prefix}head-{head.Number:D12}.json"),
                ContentType = "application/json",
                InputStream = new MemoryStream(body),
                UseChunkEncoding = false,
                // What is locked must come with a checksum.
                ChecksumSHA256 = Convert.ToBase64String(SHA256.HashData(body)),
            };
            if (retainDays > 0)
            {
                put.ObjectLockMode = compliance ? ObjectLockMode.Compliance : ObjectLockMode.Governance;
                put.ObjectLockRetainUntilDate = clock.GetUtcNow().AddDays(retainDays).UtcDateTime;
            }
            await s3.PutObjectAsync(put, ct);
        }
        catch (Exception e) when (e is AmazonS3Exception or Amazon.Runtime.AmazonClientException or HttpRequestException)
        {
            throw new HeadNotTakenException(e.Message, e);
        }
    }

    public void Dispose() => s3.Dispose();
}
