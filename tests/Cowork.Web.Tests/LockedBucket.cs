using System.Globalization;
using System.Security.Cryptography;
using System.Text;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace Cowork.Web.Tests;

/// <summary>
/// A server of S3 with object lock, as the documentation of AWS says that it answers: signatures of version 4, versions, retention in both modes, the checksum that a locked
/// object must come with, and the codes of refusals. It stands in for one because none that installs here has object lock.
/// </summary>
sealed class LockedBucket : IAsyncDisposable
{
    public const string AccessKey = "AKIDEXAMPLE";
    public const string SecretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    readonly WebApplication server;
    readonly Lock gate = new();

    LockedBucket(WebApplication server) => this.server = server;

    public sealed record Version(string Key, string Id, byte[] Body, string? Mode, DateTimeOffset? Until, bool IsMarker);

    public List<Version> Versions { get; } = [];

    /// <summary>The bucket was made with object lock.</summary>
    public bool HasLock { get; set; } = true;

    public Uri Endpoint => new(server.Urls.First());

    public S3Settings Settings(string secret = SecretKey) => new("heads", Endpoint, null, AccessKey, secret, PathStyle: true, "log/");

    public static async Task<LockedBucket> Start()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var server = builder.Build();
        var bucket = new LockedBucket(server);
        server.Run(bucket.Answer);
        await server.StartAsync();
        return bucket;
    }

    public ValueTask DisposeAsync() => server.DisposeAsync();

    async Task Answer(HttpContext http)
    {
        using var body = new MemoryStream();
        await http.Request.Body.CopyToAsync(body);
        var refused = Refusal(http.Request, body.ToArray()) ?? (http.Request.Method switch
        {
            "PUT" => Put(http, body.ToArray()),
            "DELETE" => Delete(http),
            _ => (405, "MethodNotAllowed", "The specified method is not allowed against this resource."),
        });
        if (refused is var (status, code, message))
        {
            http.Response.StatusCode = status;
            http.Response.ContentType = "application/xml";
            await http.Response.WriteAsync(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                + $"<Error><Code>{code}</Code><Message>{message}</Message><Resource>{http.Request.Path}</Resource><RequestId>1</RequestId></Error>");
        }
    }

    (int Status, string Code, string Message)? Put(HttpContext http, byte[] body)
    {
        var headers = http.Request.Headers;
        var (mode, until) = (headers["x-amz-object-lock-mode"].FirstOrDefault(), headers["x-amz-object-lock-retain-until-date"].FirstOrDefault());
        if (headers["x-amz-checksum-sha256"].FirstOrDefault() is { } sum && sum != Convert.ToBase64String(SHA256.HashData(body)))
        {
            return (400, "BadDigest", "The SHA256 you specified did not match the calculated checksum.");
        }
        DateTimeOffset? retained = null;
        if (mode is not null || until is not null)
        {
            if (!HasLock)
            {
                return (400, "InvalidRequest", "Bucket is missing Object Lock Configuration");
            }
            if (mode is not ("COMPLIANCE" or "GOVERNANCE") || until is null)
            {
                return (400, "InvalidArgument", "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied");
            }
            retained = DateTimeOffset.Parse(until, CultureInfo.InvariantCulture);
            if (retained <= TimeProvider.System.GetUtcNow())
            {
                return (400, "InvalidArgument", "The retain until date must be in the future!");
            }
            if (!headers.ContainsKey("Content-MD5") && !headers.Keys.Any(name => name.StartsWith("x-amz-checksum-", StringComparison.OrdinalIgnoreCase)))
            {
                return (400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters");
            }
        }
        lock (gate)
        {
            var id = string.Create(CultureInfo.InvariantCulture, $"v{Versions.Count + 1}");
            Versions.Add(new(http.Request.Path.Value!, id, body, mode, retained, IsMarker: false));
            http.Response.Headers["x-amz-version-id"] = id;
        }
        http.Response.Headers.ETag = $"\"{Convert.ToHexStringLower(SHA256.HashData(body))}\"";
        return null;
    }

    (int Status, string Code, string Message)? Delete(HttpContext http)
    {
        var (key, id) = (http.Request.Path.Value!, http.Request.Query["versionId"].FirstOrDefault());
        lock (gate)
        {
            if (id is null)
            {
                // Nothing is deleted: a marker hides what is there.
                Versions.Add(new(key, string.Create(CultureInfo.InvariantCulture, $"v{Versions.Count + 1}"), [], null, null, IsMarker: true));
            }
            else if (Versions.Find(version => version.Key == key && version.Id == id) is { } version)
            {
                var isBypassed = version.Mode == "GOVERNANCE" && http.Request.Headers["x-amz-bypass-governance-retention"] == "true";
                if (version.Until > TimeProvider.System.GetUtcNow() && !isBypassed)
                {
                    return (403, "AccessDenied", "Access Denied because object protected by object lock.");
                }
                Versions.Remove(version);
            }
        }
        http.Response.StatusCode = 204;
        return null;
    }

    /// <summary>Checks the signature of a request (AWS Signature Version 4, header form).</summary>
    static (int Status, string Code, string Message)? Refusal(HttpRequest request, byte[] body)
    {
        const string scheme = "AWS4-HMAC-SHA256";
        var given = request.Headers.Authorization.ToString();
        if (!given.StartsWith(scheme + " ", StringComparison.Ordinal))
        {
            return (403, "AccessDenied", "Access Denied");
        }
        var parts = given[(scheme.Length + 1)..].Split(',', StringSplitOptions.TrimEntries).Select(part => part.Split('=', 2)).ToDictionary(part => part[0], part => part[1]);
        if (parts["Credential"].Split('/') is not [AccessKey, var day, var region, "s3", "aws4_request"])
        {
            return (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.");
        }
        var payload = request.Headers["x-amz-content-sha256"].ToString();
        if (payload != Convert.ToHexStringLower(SHA256.HashData(body)))
        {
            return (400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.");
        }
        var signed = parts["SignedHeaders"].Split(';');
        var query = string.Join('&', request.Query.OrderBy(one => one.Key, StringComparer.Ordinal)
            .Select(one => $"{Uri.EscapeDataString(one.Key)}={Uri.EscapeDataString(one.Value.ToString())}"));
        var canonical = string.Join('\n',
        [
            request.Method, string.Join('/', request.Path.Value!.Split('/').Select(Uri.EscapeDataString)), query,
            .. signed.Select(name => $"{name}:{string.Join(' ', request.Headers[name].ToString().Split(' ', StringSplitOptions.RemoveEmptyEntries))}"),
            "", parts["SignedHeaders"], payload,
        ]);
        var toSign = $"{scheme}\n{request.Headers["x-amz-date"]}\n{day}/{region}/s3/aws4_request\n{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(canonical)))}";
        var key = new[] { day, region, "s3", "aws4_request" }
            .Aggregate(Encoding.UTF8.GetBytes("AWS4" + SecretKey), (with, text) => HMACSHA256.HashData(with, Encoding.UTF8.GetBytes(text)));
        return parts["Signature"] == Convert.ToHexStringLower(HMACSHA256.HashData(key, Encoding.UTF8.GetBytes(toSign)))
            ? null
            : (403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method.");
    }
}
