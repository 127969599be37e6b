using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Testing;
using Cowork.Web;

using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Cowork.Clients.Tests;

/// <summary>Blobs in a bucket of a real server.</summary>
public sealed class S3BlobsSpecs(S3Server server) : IClassFixture<S3Server>
{
    static readonly TimeSpan All = TimeSpan.FromDays(-1);

    static byte[] Bytes(int count) => [.. Enumerable.Range(0, count).Select(i => (byte)(i % 251))];

    static string Sha(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    static string FinalOf(string sha256) => $"{sha256[..2]}/{sha256}";

    ValueTask<SweepResult?> Sweep(S3Blobs blobs, TimeSpan after, bool dryRun = false) => blobs.Sweep(after, dryRun, TimeProvider.System, default);

    [Theory]
    [InlineData(0)]
    [InlineData(70_000)]
    [InlineData(8 << 20)]
    [InlineData(20_000_000)]
    public async Task What_is_put_is_there_under_its_digest_pending_and_kept(int size)
    {
        var prefix = $"put-{size}/";
        using var blobs = new S3Blobs(server.Settings(prefix));
        var bytes = Bytes(size);
        Assert.Equal((Sha(bytes), (long)size), await blobs.Put(new MemoryStream(bytes), default));
        Assert.StartsWith($"pending/{Sha(bytes)}.", Assert.Single(server.Objects(prefix)), StringComparison.Ordinal);
        Assert.Equal(bytes, await blobs.Get(Sha(bytes), default));
        await blobs.Keep([Sha(bytes)], default);
        await blobs.Keep([Sha(bytes)], default);
        Assert.Equal(new(1, size, 0), await Sweep(blobs, All));
        Assert.Equal([FinalOf(Sha(bytes))], server.Objects(prefix));
        Assert.Equal(bytes, await blobs.Get(Sha(bytes), default));
        Assert.Equal(Sha(bytes), await blobs.Put(bytes.AsMemory(), default));
        Assert.Equal([FinalOf(Sha(bytes))], server.Objects(prefix));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(20_000_000)]
    public async Task An_archive_lies_under_its_name_and_is_replaced_whole(int size)
    {
        var prefix = $"archive-{size}/";
        const string Path = "groups/grp_1/archives/20260101T090000000Z.json";
        using var blobs = new S3Blobs(server.Settings(prefix));
        Assert.Null(await blobs.OpenArchive(Path, default));
        foreach (var bytes in (byte[][])[Bytes(size), Bytes(size + 1)])
        {
            await blobs.WriteArchive(Path, new MemoryStream(bytes), default);
            await using var stream = (await blobs.OpenArchive(Path, default))!;
            var read = new byte[stream.Length];
            await stream.ReadExactlyAsync(read);
            Assert.Equal(bytes, read);
        }
        // What is cut off while it is made leaves the one before, and nothing else.
        await Assert.ThrowsAsync<IOException>(async () => await blobs.WriteArchive(Path, new CutOff(Bytes(size)), default));
        Assert.Equal([Path], server.Objects(prefix));
        Assert.Equal(size + 1, (await blobs.OpenArchive(Path, default))!.Length);
        await Sweep(blobs, All);
        Assert.Equal([Path], server.Objects(prefix));
    }

    /// <summary>A stream that fails after its bytes.</summary>
    sealed class CutOff(byte[] bytes) : MemoryStream(bytes)
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            await base.ReadAsync(buffer, cancellationToken) is > 0 and var read ? read : throw new IOException("cut off");
    }

    [Fact]
    public async Task A_blob_is_read_from_any_place()
    {
        using var blobs = new S3Blobs(server.Settings("read/"));
        var bytes = Bytes(100_000);
        await blobs.Put(bytes.AsMemory(), default);
        await using var stream = (await blobs.Open(Sha(bytes), default))!;
        Assert.Equal(bytes.Length, stream.Length);
        foreach (var at in (int[])[0, 99_999, 50_000, 1])
        {
            stream.Position = at;
            var some = new byte[Math.Min(700, bytes.Length - at)];
            await stream.ReadExactlyAsync(some);
            Assert.Equal(bytes[at..(at + some.Length)], some);
        }
        stream.Position = bytes.Length;
        Assert.Equal(0, await stream.ReadAsync(new byte[1]));
        foreach (var name in (string[])["", "../../etc/passwd", new string('0', 64), Sha(bytes).ToUpperInvariant()])
        {
            Assert.Null(await blobs.Open(name, default));
            await Assert.ThrowsAsync<InvalidDataException>(async () => await blobs.Keep([name], default));
        }
    }

    [Fact]
    public async Task A_sweep_removes_what_is_old_and_unnamed_and_never_what_was_just_written()
    {
        using S3Blobs blobs = new(server.Settings("sweep/")), other = new(server.Settings("sweep/"));
        var (named, old) = (Bytes(10), Bytes(20));
        await blobs.Put(named.AsMemory(), default);
        await blobs.Keep([Sha(named)], default);
        await blobs.Put(old.AsMemory(), default);
        Assert.Equal(new(0, 0, 2), await Sweep(blobs, TimeSpan.FromDays(1)));
        Assert.Equal(new(2, 30, 0), await Sweep(blobs, All, dryRun: true));
        Assert.Equal(3, server.Objects("sweep/").Length);
        // Another host writes the same once more: that is another object, which the sweep that looked before does not know.
        await other.Put(old.AsMemory(), default);
        var both = server.Objects("sweep/").Where(name => name.Contains(Sha(old), StringComparison.Ordinal)).ToList();
        Assert.Equal(2, both.Count);
        Assert.Equal(new(3, 50, 0), await Sweep(blobs, All));
        await Assert.ThrowsAsync<InvalidDataException>(async () => await blobs.Keep([Sha(old)], default));
        Assert.Equal(named, await other.Get(Sha(named), default));
        await blobs.Put(old.AsMemory(), default);
        await other.Keep([Sha(old)], default);
        Assert.Equal(old, await blobs.Get(Sha(old), default));
    }

    [Fact]
    public async Task What_is_taken_back_is_found_until_it_is_swept_or_named_again()
    {
        using S3Blobs blobs = new(server.Settings("taken/")), other = new(server.Settings("taken/"));
        var (gone, named) = (Bytes(10), Bytes(20));
        await blobs.Put(gone.AsMemory(), default);
        await blobs.Put(named.AsMemory(), default);
        await blobs.Keep([Sha(gone), Sha(named)], default);
        await Sweep(blobs, All);
        foreach (var sha256 in (string[])[Sha(gone), Sha(named)])
        {
            await blobs.Withdraw(sha256, default);
            await other.Withdraw(sha256, default);
            Assert.NotNull(await other.Get(sha256, default));
        }
        Assert.All(server.Objects("taken/"), name => Assert.StartsWith("pending/", name, StringComparison.Ordinal));
        Assert.Equal(new(0, 0, 2), await Sweep(blobs, TimeSpan.FromDays(1)));
        // A commit that was under way has named it.
        await other.Keep([Sha(named)], default);
        await Sweep(blobs, All);
        Assert.Null(await blobs.Get(Sha(gone), default));
        Assert.Equal([FinalOf(Sha(named))], server.Objects("taken/"));
        foreach (var nothing in (string[])[Sha(gone), "", "../../etc/passwd"])
        {
            await blobs.Withdraw(nothing, default);
        }
    }

    [Fact]
    public async Task An_upload_that_is_cut_off_leaves_nothing()
    {
        using var blobs = new S3Blobs(server.Settings("cut/"));
        await Assert.ThrowsAsync<IOException>(async () => await blobs.Put(new CutStream(20_000_000), default));
        await Assert.ThrowsAsync<IOException>(async () => await blobs.Put(new CutStream(1_000), default));
        await Sweep(blobs, All);
        Assert.Empty(server.Objects("cut/"));
    }

    [Fact]
    public async Task A_host_keeps_and_serves_files_and_long_texts_in_the_bucket()
    {
        await using var host = await LiveHost.Start(settings => settings with { S3 = server.Settings("host/") });
        var content = Bytes(10_000_000);
        using var form = new MultipartFormDataContent { { new ByteArrayContent(content), "file", "large.bin" } };
        using var uploaded = await host.Http.PostAsync("/api/v1/files", form);
        Assert.Equal(201, (int)uploaded.StatusCode);
        var path = $"{uploaded.Headers.Location}/content";
        Assert.Equal(Sha(content), Sha(await host.Http.GetByteArrayAsync(path)));
        using var range = new HttpRequestMessage(HttpMethod.Get, path);
        range.Headers.Range = new RangeHeaderValue(9_000_000, 9_000_099);
        using var part = await host.Http.SendAsync(range);
        Assert.Equal(206, (int)part.StatusCode);
        Assert.Equal(content[9_000_000..9_000_100], await part.Content.ReadAsByteArrayAsync());
        using var text = new MultipartFormDataContent { { new StringContent("The kraken sleeps."), "file", "k.txt" } };
        var file = JsonOf(await (await host.Http.PostAsync("/api/v1/files", text)).Content.ReadAsStringAsync());
        Assert.Equal("ready", (await host.Http.Until($"/api/v1/files/{file}", got => got["status"] != "processing"))["status"]);
        await host.Http.NewSession("s");
        (await host.Http.Turn("s", "/say " + new string('x', 100_000))).Is(200);
        Assert.Equal(100_000, (await host.Http.Get("/sessions/s/runs")).Is(200).Json.GetProperty("runs")[0].GetProperty("reply").GetString()!.Length);
        Assert.Contains(FinalOf(Sha(content)), server.Objects("host/"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(host.Data, "blobs")));
        (await host.Http.Get("/health/ready")).Is(200);
    }

    [Fact]
    public async Task What_an_expired_session_had_in_the_bucket_is_gone_from_it()
    {
        const string Prefix = "retention/";
        var clock = new ShiftedClock { Shift = -TimeSpan.FromDays(200) };
        var database = await TestPostgres.NewDatabase();
        await using var host = await LiveHost.Start(
            settings => settings with { S3 = server.Settings(Prefix), Database = database, Retention = new() { SessionsDays = 90 } },
            log => log.Services.Replace(ServiceDescriptor.Singleton<TimeProvider>(clock)));
        await TestPostgres.RemoveAtOnce(database);
        using var http = host.Client(host.AdminToken);
        string said = new('x', 70_000), kept = new('y', 70_000);
        var old = await http.NewSession();
        (await http.Turn(old, $"/say {said}")).Is(200);
        (await http.Turn(old, $"/say {kept}")).Is(200);
        using var form = new MultipartFormDataContent { { new StringContent("The kraken sleeps."), "file", "k.txt" }, { new StringContent(old), "conversation_id" } };
        using var uploaded = await http.PostAsync("/api/v1/files", form);
        await http.Until(uploaded.Headers.Location!.ToString(), got => got.Is(200)["status"] == "ready");
        clock.Shift = -TimeSpan.FromDays(50);
        var young = await http.NewSession();
        (await http.Turn(young, $"/say {kept}")).Is(200);
        string[] gone = [.. new[] { said, $"/say {said}", "The kraken sleeps." }.Select(text => FinalOf(Sha(Encoding.UTF8.GetBytes(text))))];
        Assert.All(gone, name => Assert.Contains(name, server.Objects(Prefix)));

        // What follows a turn or a deletion comes a moment after it, and days are counted from the last event: each look is an hour later.
        await Patience.Until(
            async () =>
            {
                clock.Shift += TimeSpan.FromHours(1);
                await Do(host, new StartSweep());
                return (await http.Get($"/sessions/{old}")).IsOneOf(200, 404).Status == System.Net.HttpStatusCode.NotFound;
            },
            pause: 100);
        clock.Shift += TimeSpan.FromDays(2);
        await Patience.Until(
            async () =>
            {
                clock.Shift += TimeSpan.FromHours(1);
                await Do(host, new StartRemoval(Session.Aggregate.Stream(SessionKey.FromId(old))));
                await host.Services.GetRequiredService<AuditTree>().CatchUp(default);
                await host.Services.GetRequiredService<HeadSigner>().Sign(default);
                return (await http.Get("/retention")).Json.GetProperty("removed").GetProperty("sessions").GetInt32() == 1;
            },
            pause: 100);
        var expired = host.Services.GetRequiredService<ExpiredBlobs>();
        await expired.Sweep(default);
        clock.Shift += TimeSpan.FromMinutes(6);
        Assert.False(await expired.Sweep(default));
        using var blobs = new S3Blobs(server.Settings(Prefix));
        await Sweep(blobs, All);

        Assert.DoesNotContain(server.Objects(Prefix), name => gone.Contains(name) || name.StartsWith("pending/", StringComparison.Ordinal));
        Assert.Contains(FinalOf(Sha(Encoding.UTF8.GetBytes(kept))), server.Objects(Prefix));
        Assert.Contains(kept, (await http.Get($"/sessions/{young}/runs")).Is(200).Text, StringComparison.Ordinal);
    }

    static async Task Do(LiveHost host, ICommand command) =>
        Assert.Null((await host.Services.GetRequiredService<ICommandExecutor>().Execute("default", RetentionSweep.System, command, default)).Refused);

    [Fact]
    public async Task A_whole_group_is_archived_into_the_bucket_and_downloaded_from_it()
    {
        const string Prefix = "group/";
        await using var host = await LiveHost.Start(settings => settings with { S3 = server.Settings(Prefix) });
        var group = (await host.Http.Post("/groups", """{"title":"Q2 report"}""")).Is(201);
        var (id, session) = (group["group_id"], group["session_id"]);
        // So long a text lies in the bucket.
        var said = new string('x', 70_000);
        (await host.Http.Post($"/groups/{id}/messages", $$"""{"text":"@assistant /say {{said}}"}""")).Is(202);
        await host.Http.Until($"/sessions/{session}/runs", runs => runs.Json.GetProperty("runs").EnumerateArray().Any(run => run.GetProperty("status").GetString() == "completed"));
        var path = (await host.Http.Post($"/groups/{id}/archive", """{"reason":"done"}"""))["r2_path"];
        await host.Http.Until($"/groups/{id}", shown => shown["status"] == "archived");

        Assert.Contains(path, server.Objects(Prefix));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(host.Data, "blobs")));
        using var blobs = new S3Blobs(server.Settings(Prefix));
        using var stored = new MemoryStream();
        await using (var archive = (await blobs.OpenArchive(path, default))!)
        {
            await archive.CopyToAsync(stored);
        }
        var got = (await host.Http.Get($"/groups/{id}/archive")).Is(200);
        Assert.Equal(stored.ToArray(), Encoding.UTF8.GetBytes(got.Text));
        Assert.Equal(stored.ToArray(), CanonicalJson.Of(stored.ToArray()));
        Assert.Equal($"\"{Sha(stored.ToArray())}\"", got.Headers.ETag!.ToString());
        var through = got.Json.GetProperty("feed_through").GetInt64();
        Assert.Equal(
            (await host.Http.Events(session)).Where(e => e.GetProperty("id").GetInt64() <= through).Select(e => e.GetProperty("hash").GetString()),
            got.Json.GetProperty("events").EnumerateArray().Select(e => e.GetProperty("hash").GetString()));
        var texts = got.Json.GetProperty("texts").EnumerateArray().Select(text => Encoding.UTF8.GetString(text.GetProperty("base64").GetBytesFromBase64())).ToList();
        Assert.Contains($"@assistant /say {said}", texts);
        Assert.Contains(got.Json.GetProperty("messages").EnumerateArray(), message => message.GetRawText().Contains(said, StringComparison.Ordinal));
        // A sweep of the bucket leaves it.
        await Sweep(blobs, All);
        Assert.Equal(got.Text, (await host.Http.Get($"/groups/{id}/archive")).Is(200).Text);
    }

    [Theory]
    [InlineData("stranger", 503, "storage_denied")]
    [InlineData("no bucket", 503, "storage_denied")]
    [InlineData("away", 503, "storage_unavailable")]
    [InlineData("full", 507, "storage_full")]
    public async Task A_bucket_that_does_not_take_a_file_refuses_it_with_a_code(string what, int status, string code)
    {
        await using var full = new LoopbackListener(socket => Answer(
            socket, "HTTP/1.1 507 Insufficient Storage", "<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its minimum free drive threshold.</Message></Error>"));
        var usual = server.Settings("x/");
        var s3 = what switch
        {
            "stranger" => usual with { AccessKey = "stranger" },
            "no bucket" => usual with { Bucket = "nobody" },
            "away" => usual with { Endpoint = new("http://127.0.0.1:1") },
            _ => usual with { Endpoint = new($"http://127.0.0.1:{full.Port}") },
        };
        await using var host = await LiveHost.Start(settings => settings with { S3 = s3 });
        using var form = new MultipartFormDataContent { { new StringContent("x"), "file", "x.txt" } };
        using var refused = await host.Http.PostAsync("/api/v1/files", form);
        var said = await refused.Content.ReadAsStringAsync();
        Assert.True((int)refused.StatusCode == status && said.Contains($"\"{code}\"", StringComparison.Ordinal), $"{(int)refused.StatusCode} {said}");
    }

    static string JsonOf(string file) => System.Text.Json.JsonElement.Parse(file).GetProperty("id").GetString()!;

    /// <summary>Answers each request of a connection alike.</summary>
    static async Task Answer(System.Net.Sockets.Socket socket, string status, string body)
    {
        using var mine = socket;
        var buffer = new byte[64 * 1024];
        while (await socket.ReceiveAsync(buffer) > 0)
        {
            await socket.SendAsync(Encoding.ASCII.GetBytes($"{status}\r\nContent-Type: application/xml\r\nContent-Length: {body.Length}\r\nConnection: close\r\n\r\n{body}"));
            socket.Shutdown(System.Net.Sockets.SocketShutdown.Send);
        }
    }

    /// <summary>Ends with an error after so many bytes.</summary>
    sealed class CutStream(long bytes) : Stream
    {
        long left = bytes;

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override int Read(byte[] buffer, int offset, int count)
        {
            var read = (int)Math.Min(count, left);
            left -= read;
            return read > 0 ? read : throw new IOException("The connection was reset.");
        }

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
