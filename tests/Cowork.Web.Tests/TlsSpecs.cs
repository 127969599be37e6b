using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

using Cowork.Testing;

using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Cowork.Web.Tests;

/// <summary>A host in token mode with a certificate in PEM files, which specs replace.</summary>
public sealed class TlsHost : IAsyncLifetime
{
    public TestAuthority Authority { get; } = new();

    public string Folder { get; } = Directory.CreateDirectory(TestPostgres.NewDirectory()).FullName;

    public string Certificate => Path.Combine(Folder, "tls.crt");

    public string Key => Path.Combine(Folder, "tls.key");

    public LiveHost Host { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Write(Authority.Issue("cowork.example"));
        Host = await LiveHost.Start(settings => settings with { TokenMode = true, Tls = new(Certificate, Key, IsPfx: false, null, null), ConnectionsMax = 60 });
    }

    public void Write(TestCertificate certificate)
    {
        File.WriteAllText(Certificate, certificate.Certificate);
        File.WriteAllText(Key, certificate.Key);
        File.SetUnixFileMode(Key, UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    public async ValueTask DisposeAsync()
    {
        await Host.DisposeAsync();
        Authority.Dispose();
        Directory.Delete(Folder, recursive: true);
    }
}

/// <summary>TLS in the host.</summary>
public sealed class TlsSpecs(TlsHost tls) : IClassFixture<TlsHost>
{
    static readonly TimeSpan Deadline = Patience.Limit;

    readonly LiveHost host = tls.Host;

    [Theory]
    [InlineData("2.0")]
    [InlineData("1.1")]
    public async Task Both_versions_of_HTTP_are_spoken(string version)
    {
        Assert.StartsWith("https://127.0.0.1:", host.Url);
        using var client = host.Client(await host.Token("spoken", "member", "admin"), Version.Parse(version));
        using var answer = await client.GetAsync("/sessions");
        Assert.Equal((HttpStatusCode.OK, Version.Parse(version)), (answer.StatusCode, answer.Version));
        Assert.Equal("completed", (await client.Turn(await client.NewSession(), "/say encrypted")).Is(200)["status"]);
        (await client.Get("/nowhere")).IsProblem(404, "not_found");
        (await client.Post("/sessions", "{")).IsProblem(400, "malformed_json");
    }

    [Theory]
    [InlineData(SslProtocols.Tls12, true)]
    [InlineData(SslProtocols.Tls13, true)]
#pragma warning disable CS0618, SYSLIB0039, CA5397 // That the old versions are refused is what the spec says.
    [InlineData(SslProtocols.Tls11, false)]
    [InlineData(SslProtocols.Tls, false)]
#pragma warning restore CS0618, SYSLIB0039, CA5397
    public async Task TLS_begins_with_1_2(SslProtocols protocol, bool isSpoken)
    {
        using var socket = await Connect();
        // The client's own floor is lowered, so that it is the host that refuses.
        await using var stream = new SslStream(new NetworkStream(socket), false, (_, certificate, _, _) => certificate is not null);
        var options = new SslClientAuthenticationOptions { TargetHost = "cowork.example", EnabledSslProtocols = protocol };
        if (isSpoken)
        {
            await stream.AuthenticateAsClientAsync(options);
            Assert.Equal(protocol, stream.SslProtocol);
        }
        else
        {
            await Assert.ThrowsAnyAsync<Exception>(() => stream.AuthenticateAsClientAsync(options));
        }
    }

    /// <summary>Of the client's offer the host takes the first that it knows; without an offer it speaks HTTP/1.1.</summary>
    [Theory]
    [InlineData("h2", "http/1.1", "h2")]
    [InlineData("http/1.1", null, "http/1.1")]
    [InlineData(null, null, "")]
    public async Task The_protocol_is_agreed_upon_in_the_handshake(string? first, string? second, string agreed)
    {
        await using var stream = await Encrypted([.. ((string?[])[first, second]).OfType<string>().Select(p => new SslApplicationProtocol(p))]);
        Assert.Equal(agreed, Encoding.ASCII.GetString(stream.NegotiatedApplicationProtocol.Protocol.Span));
    }

    [Theory]
    [InlineData("GET /sessions HTTP/1.1\r\nHost: a b c\r\n\r\n", 400, "bad_request")]
    [InlineData("GET / HTTP/3.3\r\nHost: localhost\r\n\r\n", 505, "http_version_unsupported")]
    public async Task What_the_server_itself_refuses_has_a_body_here_too(string request, int status, string code)
    {
        await using var stream = await Encrypted([]);
        await stream.WriteAsync(Encoding.ASCII.GetBytes(request));
        using var reader = new StreamReader(stream, Encoding.UTF8);
        var answer = await reader.ReadToEndAsync();
        Assert.StartsWith($"HTTP/1.1 {status} ", answer);
        Assert.Contains($"\"code\":\"{code}\"", answer);
    }

    [Fact]
    public async Task Plain_HTTP_gets_no_answer_at_all()
    {
        using var socket = await Connect();
        await socket.SendAsync("GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray());
        using var timeout = new CancellationTokenSource(Deadline);
        var buffer = new byte[4_096];
        var length = 0;
        try
        {
            length = await socket.ReceiveAsync(buffer, timeout.Token);
        }
        catch (SocketException)
        {
            // Cut: as good as closed.
        }
        Assert.DoesNotContain("HTTP/1", Encoding.ASCII.GetString(buffer, 0, length));
    }

    /// <summary>On HTTP/2 the requests of one client share a connection; what ends one leaves the others alone.</summary>
    [Fact]
    public async Task A_revoked_token_ends_its_stream_and_not_the_others_on_the_connection()
    {
        var (kept, revoked) = (await host.Token("shared", "admin"), await host.Token("shared", "member"));
        using var client = host.Client(null, HttpVersion.Version20);
        using var admin = host.Client(kept);
        var session = await admin.NewSession();
        using var one = await Open(client, kept, session);
        using var other = await Open(client, revoked, session);
        using var reading = new StreamReader(await one.Content.ReadAsStreamAsync());
        using var ending = new StreamReader(await other.Content.ReadAsStreamAsync());
        (await admin.Delete($"/tokens/token_{revoked.Split('.')[1]}")).Is(204);
        using var timeout = new CancellationTokenSource(Deadline);
        // A stream that is cut, or that ends: either way nothing comes any more.
        await Assert.ThrowsAnyAsync<Exception>(async () =>
        {
            while (await ending.ReadLineAsync(timeout.Token) is not null)
            {
            }
            throw new EndOfStreamException();
        });
        Assert.False(timeout.IsCancellationRequested);
        // A faulty request, and one that is too large, between them.
        using (var faulty = new HttpRequestMessage(HttpMethod.Get, "/sessions"))
        {
            faulty.Headers.TryAddWithoutValidation("Authorization", $"Bearer {new string('x', 20_000)}");
            using var answer = await client.SendAsync(faulty);
            Assert.Equal(HttpStatusCode.Unauthorized, answer.StatusCode);
        }
        Assert.Equal("completed", (await admin.Turn(session, "/say on")).Is(200)["status"]);
        while (await reading.ReadLineAsync(timeout.Token) is { } line && !line.Contains("run_completed", StringComparison.Ordinal))
        {
        }
        Assert.False(timeout.IsCancellationRequested);
    }

    [Fact]
    public async Task A_hundred_requests_at_once_need_one_connection()
    {
        var connections = 0;
        var handler = AnyCertificate.Handler(1);
        handler.ConnectCallback = async (context, ct) =>
        {
            Interlocked.Increment(ref connections);
            var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            await socket.ConnectAsync(context.DnsEndPoint, ct);
            return new NetworkStream(socket, ownsSocket: true);
        };
        using var client = host.Client(await host.Token("many", "member"), HttpVersion.Version20, handler);
        var session = await client.NewSession();
        var waiting = Enumerable.Range(0, 100).Select(_ => client.Get($"/sessions/{session}/events?since_id=1&wait_seconds=1")).ToList();
        Assert.All(await Task.WhenAll(waiting), got => got.Is(200));
        Assert.Equal(1, connections);
    }

    [Fact]
    public async Task The_health_command_asks_the_host_of_a_data_directory_whatever_it_speaks()
    {
        var (code, output) = await CoworkCli.Run(null, "health", "--data", host.Data);
        Assert.Equal((0, true), (code, output.Contains("\"status\":\"ready\"", StringComparison.Ordinal)));
        (code, output) = await CoworkCli.Run(null, "health", "--data", tls.Folder);
        Assert.Equal((1, true), (code, output.Contains("no host works on", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Connections_beyond_the_cap_are_closed_before_a_handshake()
    {
        var open = new List<SslStream>();
        try
        {
            var refused = 0;
            for (var i = 0; i < 70; i++)
            {
                try
                {
                    open.Add(await Encrypted([]));
                }
                catch (Exception e) when (e is IOException or AuthenticationException)
                {
                    refused++;
                }
            }
            Assert.InRange(open.Count, 1, 60);
            Assert.True(refused >= 10, $"{refused} were refused");
        }
        finally
        {
            foreach (var stream in open)
            {
                await stream.DisposeAsync();
            }
        }
    }

    Task<HttpResponseMessage> Open(HttpClient client, string token, string session)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, $"/sessions/{session}/events/stream");
        request.Headers.Authorization = new("Bearer", token);
        return client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
    }

    async Task<Socket> Connect()
    {
        var url = new Uri(host.Url);
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(IPAddress.Parse(url.Host), url.Port);
        return socket;
    }

    async Task<SslStream> Encrypted(List<SslApplicationProtocol> protocols)
    {
        var stream = new SslStream(new NetworkStream(await Connect(), ownsSocket: true), false, (_, certificate, _, _) => certificate is not null);
        await stream.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = "cowork.example", ApplicationProtocols = protocols.Count > 0 ? protocols : null });
        return stream;
    }
}

/// <summary>The certificate's files: what is taken, what is refused, and what happens when they change.</summary>
public sealed class CertificateSpecs : IDisposable
{
    readonly TestAuthority authority = new();
    readonly string folder = Directory.CreateDirectory(TestPostgres.NewDirectory()).FullName;
    readonly LogCollector log = new();

    string Certificate => Path.Combine(folder, "tls.crt");

    string Key => Path.Combine(folder, "tls.key");

    TlsSettings Pem => new(Certificate, Key, IsPfx: false, null, null);

    public void Dispose()
    {
        authority.Dispose();
        Directory.Delete(folder, recursive: true);
    }

    [Theory]
    [InlineData("no certificate", "Cowork:Tls:Certificate names {folder}/tls.crt: there is no such file.")]
    [InlineData("no key", "Cowork:Tls:Key names {folder}/tls.key: there is no such file.")]
    [InlineData("another key", "Cowork:Tls:Key names {folder}/tls.key: the private key is not that of the certificate in {folder}/tls.crt.")]
    [InlineData("swapped", "there is no certificate in it (PEM: -----BEGIN CERTIFICATE-----)")]
    [InlineData("certificate as key", "there is no private key in it")]
    [InlineData("cut certificate", "what stands there as a certificate cannot be read")]
    [InlineData("cut key", "what stands there as a private key cannot be read")]
    [InlineData("encrypted key", "the private key is encrypted, and neither Cowork:Tls:Password nor Cowork:Tls:PasswordFile gives its password")]
    [InlineData("wrong password", "the private key cannot be read: the password is wrong, or the file is damaged")]
    [InlineData("open key", "users other than the file's owner may change the private key (chmod go-w)")]
    [InlineData("for clients", "the certificate is not one for servers")]
    [InlineData("a folder", "this process cannot read it")]
    [InlineData("endless", "it is longer than 1048576 bytes")]
    [InlineData("pfx without a password", "it is no PFX file, or needs a password (Cowork:Tls:Password or Cowork:Tls:PasswordFile)")]
    [InlineData("pfx with a wrong password", "it is no PFX file, or the password is wrong")]
    [InlineData("pfx without a key", "there is no certificate with its private key in it")]
    public void What_cannot_be_used_is_told_in_a_sentence(string what, string sentence)
    {
        var good = authority.Issue("cowork.example");
        Write(good);
        var settings = Pem;
        switch (what)
        {
            case "no certificate":
                File.Delete(Certificate);
                break;
            case "no key":
                File.Delete(Key);
                break;
            case "another key":
                File.WriteAllText(Key, authority.Issue("cowork.example").Key);
                break;
            case "swapped":
                File.WriteAllText(Certificate, good.Key);
                break;
            case "certificate as key":
                File.WriteAllText(Key, good.Certificate);
                break;
            case "cut certificate":
                File.WriteAllText(Certificate, good.Certificate.Remove(200, 65));
                break;
            case "cut key":
                File.WriteAllText(Key, good.Key.Remove(60, 40));
                break;
            case "encrypted key":
                File.WriteAllText(Key, Encrypted(good.Key));
                break;
            case "wrong password":
                File.WriteAllText(Key, Encrypted(good.Key));
                settings = settings with { Password = "another" };
                break;
            case "open key":
                File.SetUnixFileMode(Key, File.GetUnixFileMode(Key) | UnixFileMode.GroupWrite);
                break;
            case "for clients":
                Write(authority.Issue("cowork.example", isForServers: false));
                break;
            case "a folder":
                settings = settings with { Certificate = folder };
                break;
            case "endless":
                settings = settings with { Certificate = "/dev/zero" };
                break;
            case "pfx without a key":
                using (var certificate = X509Certificate2.CreateFromPem(good.Certificate))
                {
                    File.WriteAllBytes(Certificate, certificate.Export(X509ContentType.Pfx));
                }
                settings = settings with { IsPfx = true, Key = null };
                break;
            default:
                File.WriteAllBytes(Certificate, good.Pfx("right"));
                settings = settings with { IsPfx = true, Key = null, Password = what.Contains("wrong", StringComparison.Ordinal) ? "another" : null };
                break;
        }
        var told = Assert.Throws<ServerCertificateException>(() => CoworkHost.Start(CoworkHost.NewBuilder(), Settings(settings)));
        Assert.Contains(sentence.Replace("{folder}", folder, StringComparison.Ordinal), told.Message);
        // The data directory is not taken by a host that cannot start.
        Assert.False(Directory.Exists(Path.Combine(folder, "data")));
    }

    [Theory]
    [InlineData("Cowork:Tls:Mode", "none", "Cowork:Tls:Certificate", "x", "Cowork:Tls:Mode is none, and a certificate is named beside it.")]
    [InlineData("Cowork:Tls:Mode", "on", null, null, "Cowork:Tls:Mode is \"on\"; it may be none.")]
    [InlineData("Cowork:Tls:Key", "x", null, null, "for which Cowork:Tls:Certificate names no certificate")]
    [InlineData("Cowork:Tls:Pfx", "x", "Cowork:Tls:Certificate", "y", "both name a certificate")]
    [InlineData("Cowork:Tls:Password", "x", null, null, "neither Cowork:Tls:Certificate nor Cowork:Tls:Pfx names a certificate")]
    [InlineData("Cowork:TrustedProxies:0", "proxy.example", null, null, "Cowork:TrustedProxies:0 is \"proxy.example\"; it may be an address or a network")]
    [InlineData("Cowork:TrustedProxies:0", "0.0.0.0/0", null, null, "this one has every address in it")]
    [InlineData("Cowork:TrustedProxies:0", "10.0.0.1", "Cowork:Auth:Mode", "local", "names a proxy that lets others in. Use token.")]
    public void Settings_that_contradict_each_other_are_told_in_a_sentence(string name, string value, string? other, string? otherValue, string sentence) =>
        Assert.Contains(sentence, Assert.Throws<ArgumentException>(() => Read((name, value), (other ?? name, otherValue ?? value))).Message);

    [Theory]
    //          Bind          with                                          refused
    [InlineData("127.0.0.1", null, null, false)]
    [InlineData("0.0.0.0", null, null, true)]
    [InlineData("*", null, null, true)]
    [InlineData("192.0.2.1", null, null, true)]
    [InlineData("*", "Cowork:Tls:Mode", "none", false)]
    [InlineData("*", "Cowork:Tls:Certificate", "/x.pem", false)]
    [InlineData("*", "Cowork:Tls:Pfx", "/x.pfx", false)]
    [InlineData("*", "Cowork:TrustedProxies:0", "10.0.0.0/8", false)]
    public void Beyond_loopback_there_is_TLS_or_a_proxy_or_a_word(string bind, string? name, string? value, bool isRefused)
    {
        (string, string?)[] settings = [("Cowork:Bind", bind), .. name is null ? [] : ((string, string?)[])[(name, value)]];
        if (isRefused)
        {
            var told = Assert.Throws<ArgumentException>(() => Read(settings)).Message;
            Assert.All(["Cowork__Tls__Certificate", "Cowork__Tls__Pfx", "Cowork__TrustedProxies__0", "127.0.0.1", "Cowork__Tls__Mode=none"], way => Assert.Contains(way, told));
        }
        else
        {
            Assert.Equal(bind != "127.0.0.1", Read(settings).TokenMode);
        }
    }

    [Fact]
    public async Task A_PFX_and_an_encrypted_key_with_their_password_in_a_file_will_do()
    {
        var password = Path.Combine(folder, "password");
        await File.WriteAllTextAsync(password, "right\n");
        var issued = authority.Issue("cowork.example");
        await File.WriteAllBytesAsync(Certificate, issued.Pfx("right"));
        File.SetUnixFileMode(Certificate, UnixFileMode.UserRead);
        await using (Start(new(Certificate, null, IsPfx: true, null, password), out var url))
        {
            Assert.Equal(issued.Thumbprint, await Shown(url));
        }
        File.SetUnixFileMode(Certificate, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        await File.WriteAllTextAsync(Certificate, issued.Certificate + "\n" + Encrypted(issued.Key));
        await using (Start(new(Certificate, null, IsPfx: false, "right", null), out var url))
        {
            Assert.Equal(issued.Thumbprint, await Shown(url));
        }
    }

    /// <summary>While the database is away, over TLS as well.</summary>
    [Fact]
    public async Task The_port_speaks_TLS_before_the_database_is_there()
    {
        Write(authority.Issue("cowork.example"));
        await using var host = Start(Pem, out var url);
        using var http = new HttpClient(AnyCertificate.Handler(8)) { BaseAddress = new(url), DefaultRequestVersion = HttpVersion.Version20 };
        (await http.Get("/health/live")).Is(200);
        var away = (await http.Get("/sessions")).IsProblem(503, "starting");
        Assert.NotNull(away.Headers.RetryAfter);
        // In the form of each contract.
        foreach (var path in (string[])["/myworks", "/myworks?limit=1", "/myworks/work_1"])
        {
            Assert.NotNull((await http.Get(path)).IsProblem(503, "starting").Headers.RetryAfter);
        }
        (await http.Get("/myworksx")).IsProblem(503, "starting");
        var renewed = authority.Issue("cowork.example");
        Write(renewed);
        await Patience.Until(async () => await Shown(url) == renewed.Thumbprint);
    }

    [Fact]
    public async Task An_expired_certificate_is_served_with_a_warning()
    {
        Write(authority.Issue("cowork.example", until: TimeProvider.System.GetUtcNow().AddHours(-1)));
        File.SetUnixFileMode(Key, File.GetUnixFileMode(Key) | UnixFileMode.OtherRead);
        await using var host = Start(Pem, out var url);
        await Patience.Until(() => log.Has("The TLS certificate of cowork.example expired at"));
        await Patience.Until(() => log.Has($"Every user of this machine may read the private key in {Key}"));
        Write(authority.Issue("soon.example", until: TimeProvider.System.GetUtcNow().AddDays(2)));
        await Patience.Until(() => log.Has("The TLS certificate of soon.example expires at"));
        Write(authority.Issue("early.example", from: TimeProvider.System.GetUtcNow().AddDays(1)));
        await Patience.Until(() => log.Has("The TLS certificate of early.example is valid only from"));
    }

    [Fact]
    public async Task A_certificate_that_is_replaced_by_a_rename_is_shown_and_open_connections_go_on()
    {
        var first = authority.Issue("cowork.example");
        Write(first);
        await using var host = await LiveHost.Start(settings => settings with { Tls = Pem });
        await using var reader = await EventReader.Open(host.Http, $"/sessions/{await host.Http.NewSession("open")}/events/stream");
        Assert.Equal(first.Thumbprint, await Shown(host.Url));
        var second = authority.Issue("cowork.example");
        foreach (var (path, text) in ((string, string)[])[(Certificate, second.Certificate), (Key, second.Key)])
        {
            await File.WriteAllTextAsync(path + ".new", text);
            File.SetUnixFileMode(path + ".new", UnixFileMode.UserRead);
            File.Move(path + ".new", path, overwrite: true);
        }
        await Patience.Until(async () => await Shown(host.Url) == second.Thumbprint);
        using var fresh = host.Client();
        await fresh.Turn("open", "/say on");
        var seen = await reader.Through(5);
        Assert.Contains(seen, e => e.Type == "run_created");
    }

    /// <summary>A mounted secret of Kubernetes: the files are links into a folder that is itself a link, and that one is replaced.</summary>
    [Fact]
    public async Task A_mounted_secret_whose_link_is_turned_is_followed()
    {
        var (first, second) = (authority.Issue("cowork.example"), authority.Issue("cowork.example"));
        Put("..one", first);
        Put("..two", second);
        var data = Path.Combine(folder, "..data");
        File.CreateSymbolicLink(data, "..one");
        File.CreateSymbolicLink(Certificate, "..data/tls.crt");
        File.CreateSymbolicLink(Key, "..data/tls.key");
        await using var host = Start(Pem, out var url);
        Assert.Equal(first.Thumbprint, await Shown(url));
        File.CreateSymbolicLink(data + "_tmp", "..two");
        using (var rename = System.Diagnostics.Process.Start("mv", ["-T", data + "_tmp", data]))
        {
            await rename.WaitForExitAsync();
        }
        await Patience.Until(async () => await Shown(url) == second.Thumbprint);
        Assert.False(log.Has("cannot be used"));

        void Put(string name, TestCertificate certificate)
        {
            Directory.CreateDirectory(Path.Combine(folder, name));
            File.WriteAllText(Path.Combine(folder, name, "tls.crt"), certificate.Certificate);
            File.WriteAllText(Path.Combine(folder, name, "tls.key"), certificate.Key);
        }
    }

    [Fact]
    public async Task A_pair_that_is_half_written_leaves_the_old_one_and_the_log_says_so()
    {
        var (first, second) = (authority.Issue("cowork.example"), authority.Issue("cowork.example"));
        Write(first);
        await using var host = Start(Pem, out var url);
        await File.WriteAllTextAsync(Certificate, second.Certificate);
        await Patience.Until(() => log.Has($"cannot be used, so the certificate of before is kept: Cowork:Tls:Key names {Key}: the private key is not that of the certificate in"));
        Assert.Equal(first.Thumbprint, await Shown(url));
        await File.WriteAllTextAsync(Certificate, second.Certificate.Remove(200));
        await Patience.Until(() => log.Has("what stands there as a certificate cannot be read") || log.Has("there is no certificate in it"));
        File.Delete(Key);
        await Patience.Until(() => log.Has("there is no such file"));
        Assert.Equal(first.Thumbprint, await Shown(url));
        Write(second);
        await Patience.Until(async () => await Shown(url) == second.Thumbprint);
        Assert.True(log.Has("The TLS certificate was replaced"));
    }

    static HostSettings Read(params (string Name, string? Value)[] configuration) => HostSettings.Read(
        ["--data", "/tmp/cowork-not-made"],
        new ConfigurationBuilder().AddInMemoryCollection(configuration.DistinctBy(c => c.Name).Select(c => KeyValuePair.Create(c.Name, c.Value))).Build());

    static string Encrypted(string key)
    {
        using var read = ECDsa.Create();
        read.ImportFromPem(key);
        return read.ExportEncryptedPkcs8PrivateKeyPem("right", new(PbeEncryptionAlgorithm.Aes256Cbc, HashAlgorithmName.SHA256, 10_000));
    }

    void Write(TestCertificate certificate)
    {
        File.WriteAllText(Certificate, certificate.Certificate);
        File.WriteAllText(Key, certificate.Key);
        File.SetUnixFileMode(Key, File.GetUnixFileMode(Key) & ~UnixFileMode.OtherRead);
    }

    HostSettings Settings(TlsSettings tls) =>
        new() { Port = 0, Data = Path.Combine(folder, "data"), Database = $"Host={folder};Username=nobody;Database=none;Timeout=2", Tls = tls };

    /// <summary>A host whose database never comes: its port is there.</summary>
    CoworkHost Start(TlsSettings tls, out string url)
    {
        var builder = CoworkHost.NewBuilder();
        builder.Services.AddSingleton<ILoggerFactory>(log);
        var host = CoworkHost.Start(builder, Settings(tls));
        url = host.Url;
        return host;
    }

    /// <summary>The thumbprint of the certificate that a new connection sees.</summary>
    static async Task<string> Shown(string address)
    {
        var url = new Uri(address);
        using var socket = new TcpClient();
        await socket.ConnectAsync(url.Host, url.Port);
        await using var stream = new SslStream(socket.GetStream(), false, (_, certificate, _, _) => certificate is not null);
        await stream.AuthenticateAsClientAsync("cowork.example");
        return ((X509Certificate2)stream.RemoteCertificate!).Thumbprint;
    }
}
