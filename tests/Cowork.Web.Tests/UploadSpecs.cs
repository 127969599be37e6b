using System.Globalization;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;

using Cowork.Testing;
using Cowork.Web.Http;

using Microsoft.Extensions.DependencyInjection;

using static Cowork.Web.Tests.UploadedForm;

namespace Cowork.Web.Tests;

/// <summary>Uploads that are too large, too slow or cut off.</summary>
public sealed class UploadSpecs
{
    const int FileBytesMax = 300_000;

    static readonly byte[] Form = Encoding.UTF8.GetBytes(
        Part("name=\"project_id\"", "proj_00000000000000000000000000") + Part("name=\"file\"; filename=\"cut.txt\"", "abcdefghij") + Part("name=\"more\"", "x") + End);

    static Task<LiveHost> NewHost(TimeSpan? requestTimeout = null) => LiveHost.Start(settings => settings with
    {
        FileBytesMax = FileBytesMax,
        Limits = settings.Limits with { RequestTimeout = requestTimeout ?? settings.Limits.RequestTimeout },
    });

    /// <summary>What the blob store holds, after a sweep of all that no commit has named.</summary>
    static async Task<string[]> Swept(LiveHost host)
    {
        var store = host.Services.GetRequiredService<FileBlobs>();
        Assert.NotNull(await store.Sweep(TimeSpan.FromDays(-1), dryRun: false, TimeProvider.System, default));
        return [.. Directory.EnumerateFiles(Path.Combine(host.Data, "blobs"), "*", SearchOption.AllDirectories).Select(path => Path.GetFileName(path)!).Where(name => name != ".sweep")];
    }

    /// <summary>Sends a request, or its beginning and then the end of the connection, and reads what comes until the host has closed.</summary>
    static async Task<string> Send(LiveHost host, byte[] sent, long contentLength)
    {
        var url = new Uri(host.Url);
        using var socket = new TcpClient();
        await socket.ConnectAsync(url.Host, url.Port);
        await using var stream = socket.GetStream();
        var head = $"POST /api/v1/files HTTP/1.1\r\nHost: {url.Authority}\r\nContent-Type: {ContentType}\r\nContent-Length: {contentLength}\r\nConnection: close\r\n\r\n";
        await stream.WriteAsync((byte[])[.. Encoding.ASCII.GetBytes(head), .. sent]);
        if (sent.Length < contentLength)
        {
            socket.Client.Shutdown(SocketShutdown.Send);
        }
        using var answer = new StreamReader(stream);
        try
        {
            return await answer.ReadToEndAsync();
        }
        catch (IOException)
        {
            return "";
        }
    }

    [Fact]
    public async Task An_upload_that_is_cut_off_at_any_byte_leaves_no_file_and_after_the_sweep_no_bytes()
    {
        await using var host = await NewHost();
        for (var cut = 0; cut < Form.Length; cut++)
        {
            // The connection ends.
            Assert.DoesNotContain(" 201 ", await Send(host, Form[..cut], Form.Length), StringComparison.Ordinal);
            // The request is whole, and the form in it is not; its last two bytes are no part of it. A name that is cut off is another fault than an end within the file.
            var answer = await Send(host, Form[..cut], cut);
            Assert.True(answer.StartsWith(cut >= Form.Length - 2 ? "HTTP/1.1 201" : "HTTP/1.1 4", StringComparison.Ordinal), $"{cut}: {answer}");
            if (cut >= Form.Length - 2)
            {
                continue;
            }
            Assert.Equal("0", (await host.Http.Get("/api/v1/files")).Is(200)["total"]);
        }
        Assert.Single((await Swept(host)).Distinct());
    }

    [Fact]
    public async Task A_large_upload_that_is_cut_off_leaves_nothing_either()
    {
        await using var host = await NewHost();
        var random = new Random(Seeds.One(4_711));
        var content = new byte[FileBytesMax];
        random.NextBytes(content);
        byte[] form = [.. Encoding.UTF8.GetBytes($"--{Boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n"), .. content, .. Encoding.UTF8.GetBytes($"\r\n{End}")];
        for (var i = 0; i < 40; i++)
        {
            Assert.DoesNotContain(" 201 ", await Send(host, form[..random.Next(form.Length)], form.Length), StringComparison.Ordinal);
        }
        Assert.Equal("0", (await host.Http.Get("/api/v1/files")).Is(200)["total"]);
        Assert.Empty(await Swept(host));
        Assert.Contains(" 201 ", await Send(host, form, form.Length), StringComparison.Ordinal);
        Assert.Single(await Swept(host));
    }

    [Fact]
    public async Task A_file_that_is_too_large_is_refused_whether_or_not_its_size_is_told_before()
    {
        await using var host = await NewHost();
        (await host.Http.Upload(new byte[FileBytesMax])).Is(201);
        (await host.Http.Upload(new byte[FileBytesMax + 1])).IsProblem(413, "file_too_large");
        (await host.Http.Upload(new byte[FileBytesMax + 600_000])).IsProblem(413, "file_too_large");
        using var chunked = new HttpRequestMessage(HttpMethod.Post, "/api/v1/files") { Content = new Endless(FileBytesMax * 3) };
        chunked.Headers.TransferEncodingChunked = true;
        using var refused = await host.Http.SendAsync(chunked);
        Assert.Equal((413, true), ((int)refused.StatusCode, (await refused.Content.ReadAsStringAsync()).Contains("file_too_large", StringComparison.Ordinal)));
        // The limits of other bodies stay.
        (await host.Http.Send(HttpMethod.Post, "/api/v1/projects", new byte[(4 << 20) + 1], "application/json")).IsProblem(413, "payload_too_large");
        Assert.Single(await Swept(host));
    }

    [Fact]
    public async Task An_upload_may_take_longer_than_another_body_as_long_as_bytes_come()
    {
        await using var host = await NewHost(TimeSpan.FromMilliseconds(100));
        var patience = host.Services.GetRequiredService<HttpLimits>().BodyTimeout;
        using var slow = new HttpRequestMessage(HttpMethod.Post, "/api/v1/files") { Content = new Endless(200_000, TimeSpan.FromMilliseconds(60)) };
        var began = TimeProvider.System.GetTimestamp();
        using var accepted = await host.Http.SendAsync(slow);
        Assert.Equal(201, (int)accepted.StatusCode);
        Assert.True(TimeProvider.System.GetElapsedTime(began) > patience);

        var url = new Uri(host.Url);
        using var socket = new TcpClient();
        await socket.ConnectAsync(url.Host, url.Port);
        await using var stream = socket.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes(
            $"POST /api/v1/files HTTP/1.1\r\nHost: {url.Authority}\r\nContent-Type: {ContentType}\r\nContent-Length: {Form.Length}\r\n\r\n"));
        await stream.WriteAsync(Form.AsMemory(0, 100));
        var answer = new byte[12];
        await stream.ReadExactlyAsync(answer);
        Assert.Equal("HTTP/1.1 408", Encoding.ASCII.GetString(answer));
        Assert.Single(await Swept(host));
    }

    [Fact]
    public async Task A_tenants_quota_counts_files_and_refuses_one_that_is_larger_than_what_is_left()
    {
        await using var host = await LiveHost.Start(settings => settings with { Quotas = new(new() { StoredBytes = 100_000 }, new Dictionary<string, Application.TenantQuota>()) });
        (await host.Http.Upload(new byte[100_001])).IsProblem(507, "tenant_storage_full");
        (await host.Http.Upload(new byte[60_000], key: "k")).Is(201);
        (await host.Http.Upload(new byte[60_000])).IsProblem(507, "tenant_storage_full");
        (await host.Http.Upload(new byte[60_000], key: "k")).Is(201);
        (await host.Http.Upload(new byte[20_000])).Is(201);
    }

    /// <summary>A form with a file of so many bytes, sent in pieces.</summary>
    internal sealed class Endless : HttpContent
    {
        readonly long bytes;
        readonly TimeSpan pause;

        public Endless(long bytes, TimeSpan pause = default)
        {
            (this.bytes, this.pause) = (bytes, pause);
            Headers.ContentType = MediaTypeHeaderValue.Parse(ContentType);
        }

        protected override async Task SerializeToStreamAsync(Stream stream, System.Net.TransportContext? context)
        {
            await stream.WriteAsync(Encoding.ASCII.GetBytes($"--{Boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"e.bin\"\r\n\r\n"));
            var piece = new byte[20_000];
            for (var left = bytes; left > 0; left -= piece.Length)
            {
                await stream.WriteAsync(piece.AsMemory(0, (int)Math.Min(left, piece.Length)));
                if (pause > TimeSpan.Zero)
                {
                    await stream.FlushAsync();
                    await Task.Delay(pause);
                }
            }
            await stream.WriteAsync(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"\r\n{End}")));
        }

        protected override bool TryComputeLength(out long length) => (length = -1) >= 0;
    }
}

/// <summary>Alone, because what other specs allocate would be counted too.</summary>
[Collection(Alone)]
public sealed class UploadMemorySpecs
{
    const string Alone = "what is allocated";

    [CollectionDefinition(Alone, DisableParallelization = true)]
    public sealed class Definition;

    [Fact]
    public async Task An_upload_takes_no_memory_by_its_size()
    {
        await using var host = await LiveHost.Start();
        var memory = host.Services.GetRequiredService<RequestMemory>();
        using var upload = new HttpRequestMessage(HttpMethod.Post, "/api/v1/files") { Content = new UploadSpecs.Endless(64 << 20) };
        var before = GC.GetTotalAllocatedBytes();
        using var made = await host.Http.SendAsync(upload);
        Assert.Equal((201, 0L), ((int)made.StatusCode, memory.Refused));
        // Client and host together: what goes through them is 64 MiB.
        Assert.InRange(GC.GetTotalAllocatedBytes() - before, 0, 48 << 20);
    }
}
