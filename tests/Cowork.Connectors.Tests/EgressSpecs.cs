using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;

using Cowork.Testing;

namespace Cowork.Connectors.Tests;

/// <summary>Which addresses connections reach, however they are written and whatever a name resolves to.</summary>
public sealed class EgressSpecs
{
    const string Public = "93.184.215.14";

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("127.1")]
    [InlineData("127.255.255.254")]
    [InlineData("0x7f000001")]
    [InlineData("0x7f.1")]
    [InlineData("2130706433")]
    [InlineData("017700000001")]
    [InlineData("0177.0.0.01")]
    [InlineData("0")]
    [InlineData("0.0.0.0")]
    [InlineData("0.1.2.3")]
    [InlineData("10.0.0.1")]
    [InlineData("10.255.255.255")]
    [InlineData("100.64.0.1")]
    [InlineData("100.127.255.255")]
    [InlineData("169.254.169.254")]
    [InlineData("0xa9fea9fe")]
    [InlineData("2852039166")]
    [InlineData("172.16.0.1")]
    [InlineData("172.31.255.255")]
    [InlineData("192.0.0.8")]
    [InlineData("192.0.2.1")]
    [InlineData("192.88.99.1")]
    [InlineData("192.168.1.1")]
    [InlineData("198.18.0.1")]
    [InlineData("198.19.255.255")]
    [InlineData("198.51.100.1")]
    [InlineData("203.0.113.1")]
    [InlineData("224.0.0.1")]
    [InlineData("239.255.255.255")]
    [InlineData("240.0.0.1")]
    [InlineData("255.255.255.255")]
    [InlineData("::")]
    [InlineData("::1")]
    [InlineData("[::1]")]
    [InlineData("0:0:0:0:0:0:0:1")]
    [InlineData("::127.0.0.1")] // IPv4-compatible
    [InlineData("::ffff:127.0.0.1")]
    [InlineData("[::ffff:127.0.0.1]")]
    [InlineData("::ffff:7f00:1")]
    [InlineData("::ffff:10.0.0.1")]
    [InlineData("::ffff:169.254.169.254")]
    [InlineData("64:ff9b::7f00:1")] // NAT64
    [InlineData("64:ff9b::10.0.0.1")]
    [InlineData("64:ff9b::169.254.169.254")]
    [InlineData("64:ff9b:1::93.184.215.14")] // a network's own NAT64
    [InlineData("2002:7f00:1::")] // 6to4
    [InlineData("2002:0a00:0001::1")]
    [InlineData("2002:a9fe:a9fe::1")]
    [InlineData("2001:0:4136:e378:8000:63bf:3fff:fdd2")] // Teredo
    [InlineData("2001:db8::1")]
    [InlineData("3fff::1")]
    [InlineData("5f00::1")]
    [InlineData("100::1")]
    [InlineData("fc00::1")]
    [InlineData("fd12:3456:789a::1")]
    [InlineData("fe80::1")]
    [InlineData("fe80::1%lo")]
    [InlineData("febf::1")]
    [InlineData("fec0::1")]
    [InlineData("ff02::1")]
    [InlineData("localhost")]
    [InlineData("LOCALHOST.")]
    [InlineData("")]
    [InlineData("/var/run/postgresql")]
    [InlineData("@abstract")]
    [InlineData("a.example,127.0.0.1")]
    [InlineData("a.example:80")]
    [InlineData("127。0。0。1")]
    [InlineData("①②⑦.⓪.⓪.①")]
    public async Task What_is_inside_is_not_reached_however_it_is_written(string host)
    {
        var fence = new EgressFence([], [], TimeProvider.System);
        var verdict = await fence.Check(host, 80, CancellationToken.None);
        Assert.Empty(verdict.Addresses);
        Assert.Equal($"{host}:80 is unknown, or lies where connections may not reach. The administrator can allow it (Cowork:Egress:Allow).", verdict.WhyNot);
    }

    [Theory]
    [InlineData(Public)]
    [InlineData("9.255.255.255")]
    [InlineData("11.0.0.0")]
    [InlineData("100.63.255.255")]
    [InlineData("100.128.0.0")]
    [InlineData("126.255.255.255")]
    [InlineData("128.0.0.0")]
    [InlineData("169.253.255.255")]
    [InlineData("172.15.255.255")]
    [InlineData("172.32.0.0")]
    [InlineData("192.167.255.255")]
    [InlineData("192.169.0.0")]
    [InlineData("223.255.255.255")]
    [InlineData("2606:2800:21f:cb07:6820:80da:af6b:8b2c")]
    [InlineData("64:ff9b::93.184.215.14")]
    [InlineData("::ffff:93.184.215.14")]
    [InlineData("2002:5db8:d70e::1")]
    public async Task What_is_outside_is_reached(string host)
    {
        var fence = new EgressFence([], [], TimeProvider.System, ownAddresses: () => []);
        var verdict = await fence.Check(host, 443, CancellationToken.None);
        Assert.Null(verdict.WhyNot);
        Assert.Equal([IPAddress.Parse(host)], verdict.Addresses);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(65536)]
    public async Task A_port_that_is_none_is_not_reached(int port) =>
        Assert.NotNull((await new EgressFence([], [], TimeProvider.System).Check(Public, port, CancellationToken.None)).WhyNot);

    [Fact]
    public async Task Of_a_names_addresses_only_those_outside_are_connected_to()
    {
        var fence = Fence(new Names { ["mixed.example"] = ["10.0.0.1", Public, "::1"] });
        Assert.Equal([IPAddress.Parse(Public)], (await fence.Check("mixed.example", 443, CancellationToken.None)).Addresses);
    }

    [Fact]
    public async Task A_name_inside_is_refused_in_the_words_of_a_name_that_is_unknown()
    {
        var fence = Fence(new Names { ["vault.corp.example"] = ["10.1.2.3"] });
        var inside = await fence.Check("vault.corp.example", 443, CancellationToken.None);
        var unknown = await fence.Check("nobody.corp.example", 443, CancellationToken.None);
        Assert.Equal(unknown.WhyNot!.Replace("nobody", "vault", StringComparison.Ordinal), inside.WhyNot);
        Assert.DoesNotContain("10.1.2.3", inside.WhyNot, StringComparison.Ordinal);
    }

    [Fact]
    public async Task This_machines_own_public_address_is_inside()
    {
        var fence = Fence([], own: [Public]);
        Assert.NotNull((await fence.Check(Public, 80, CancellationToken.None)).WhyNot);
        Assert.NotNull((await fence.Check($"::ffff:{Public}", 80, CancellationToken.None)).WhyNot);
        Assert.Null((await Fence([], [$"{Public}:80"], own: [Public]).Check(Public, 80, CancellationToken.None)).WhyNot);
    }

    [Theory]
    [InlineData("10.1.0.0/16", "10.1.2.3", 5432, true)]
    [InlineData("10.1.0.0/16", "::ffff:10.1.2.3", 5432, true)]
    [InlineData("10.1.0.0/16", "10.2.2.3", 5432, false)]
    [InlineData("fd00:1::/32", "fd00:1::5", 443, true)]
    [InlineData("fd00:1::/32", "fd00:2::5", 443, false)]
    [InlineData("10.1.2.3:5432", "10.1.2.3", 5432, true)]
    [InlineData("10.1.2.3:5432", "10.1.2.3", 5433, false)]
    [InlineData("[fd00::5]:443", "fd00::5", 443, true)]
    [InlineData("[fd00::5]:443", "fd00::5", 80, false)]
    [InlineData("db.corp.example:5432", "db.corp.example", 5432, true)]
    [InlineData("db.corp.example:5432", "DB.Corp.Example.", 5432, true)]
    [InlineData("db.corp.example:5432", "db.corp.example", 22, false)]
    [InlineData("db.corp.example:5432", "other.corp.example", 5432, false)]
    [InlineData("db.corp.example:5432", "10.1.2.3", 5432, false)] // The name is allowed, not what else lies at its address.
    [InlineData("10.1.2.3:5432", "db.corp.example", 5432, true)]
    public async Task What_the_administrator_lists_is_reached(string entry, string host, int port, bool isReached)
    {
        var fence = Fence(new Names { ["db.corp.example"] = ["10.1.2.3"], ["other.corp.example"] = ["10.9.9.9"] }, [entry]);
        Assert.Equal(isReached, (await fence.Check(host, port, CancellationToken.None)).WhyNot is null);
    }

    [Theory]
    [InlineData("10.0.0.5")]
    [InlineData("db.corp.example")]
    [InlineData("*")]
    [InlineData("*:443")]
    [InlineData("0.0.0.0/0")]
    [InlineData("::/0")]
    [InlineData("10.0.0.5/8")] // An address in a network is no network.
    [InlineData("10.0.0.0/33")]
    [InlineData("db.corp.example:0")]
    [InlineData("db.corp.example:65536")]
    [InlineData("fd00::5:443")]
    [InlineData("https://db.corp.example:443")]
    [InlineData("")]
    public void What_names_no_target_is_no_entry(string entry) => Assert.Null(EgressTarget.Parse(entry));

    [Theory]
    [InlineData("own.example", "own.example")]
    [InlineData("own.example", "alias.example")]
    [InlineData("own.example", Public)]
    [InlineData("own.example", "::ffff:" + Public)]
    [InlineData(Public, "own.example")]
    [InlineData("unknown.example", "UNKNOWN.example")]
    public async Task The_hosts_own_database_is_not_reached_by_any_of_its_names(string database, string host)
    {
        var names = new Names { ["own.example"] = [Public], ["alias.example"] = [Public] };
        var fence = Fence(names, database: database);
        Assert.NotNull((await fence.Check(host, 5432, CancellationToken.None)).WhyNot);
        Assert.Equal(database != "unknown.example", (await fence.Check(host, 443, CancellationToken.None)).WhyNot is null);
    }

    [Fact]
    public async Task The_hosts_own_database_is_reached_when_it_is_named_and_not_by_a_network_around_it()
    {
        var names = new Names { ["db.corp.example"] = ["10.0.0.5"] };
        Assert.NotNull((await Fence(names, ["10.0.0.0/8"], "10.0.0.5").Check("db.corp.example", 5432, CancellationToken.None)).WhyNot);
        Assert.Null((await Fence(names, ["10.0.0.0/8"], "10.0.0.6").Check("db.corp.example", 5432, CancellationToken.None)).WhyNot);
        Assert.Null((await Fence(names, ["10.0.0.5:5432"], "10.0.0.5").Check("db.corp.example", 5432, CancellationToken.None)).WhyNot);
        Assert.Null((await Fence(names, ["db.corp.example:5432"], "10.0.0.5").Check("db.corp.example", 5432, CancellationToken.None)).WhyNot);
    }

    [Fact]
    public async Task A_name_that_changes_its_address_is_connected_to_where_it_was_judged()
    {
        await using var server = new Listener("reached");
        // To the first question it is at the server, which is allowed, and to every later one at the address of a cloud's credentials.
        var names = new Names { ["rebind.example"] = ["127.0.0.1"] };
        names.Then("rebind.example", ["169.254.169.254"]);
        using var http = new HttpClient(Fence(names, [$"127.0.0.1:{server.Port}"]).NewHandler(TimeSpan.FromSeconds(5)));
        Assert.Equal("reached", await http.GetStringAsync($"http://rebind.example:{server.Port}/"));
        Assert.Equal(1, names.Asked);
        // The server closed the connection: the next request resolves the name again, and is judged again.
        await Refused(http, $"http://rebind.example:{server.Port}/");
        Assert.Equal(2, names.Asked);
        Assert.Equal(1, server.Connections);
    }

    [Theory]
    [InlineData("127.1")]
    [InlineData("0x7f000001")]
    [InlineData("2130706433")]
    [InlineData("[::ffff:127.0.0.1]")]
    [InlineData("localhost")]
    [InlineData("127。0。0。1")]
    public async Task No_spelling_of_an_address_connects_to_a_server_inside(string host)
    {
        await using var server = new Listener("inside");
        using var http = new HttpClient(new EgressFence([], [], TimeProvider.System).NewHandler(TimeSpan.FromSeconds(5)));
        await Refused(http, $"http://{host}:{server.Port}/");
        Assert.Equal(0, server.Connections);
    }

    [Fact]
    public async Task A_redirect_is_not_followed_by_the_handler()
    {
        await using var inside = new Listener("inside");
        await using var server = new Listener("", $"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{inside.Port}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        using var http = new HttpClient(Fence([], [$"127.0.0.1:{server.Port}"]).NewHandler(TimeSpan.FromSeconds(5)));
        using var answer = await http.GetAsync(new Uri($"http://127.0.0.1:{server.Port}/"));
        Assert.Equal(HttpStatusCode.Found, answer.StatusCode);
        await Refused(http, answer.Headers.Location!.ToString());
        Assert.Equal(0, inside.Connections);
    }

    [Theory]
    [InlineData("file:///etc/passwd")]
    [InlineData("gopher://example.com/")]
    [InlineData("ftp://example.com/")]
    [InlineData("ws://example.com/")]
    [InlineData("unix:/var/run/docker.sock")]
    public async Task Only_http_and_https_are_spoken(string address)
    {
        using var handler = Fence([]).NewHandler(TimeSpan.FromSeconds(5));
        using var http = new HttpMessageInvoker(handler);
        using var request = new HttpRequestMessage(HttpMethod.Get, address);
        var refused = await Assert.ThrowsAsync<EgressException>(() => http.SendAsync(request, CancellationToken.None));
        Assert.Equal("Only addresses that begin with http:// or https:// are reached.", refused.Message);
    }

    [Fact]
    public async Task HTTP_3_is_not_spoken_because_it_would_connect_by_itself()
    {
        await using var server = new Listener("reached");
        using var http = new HttpClient(Fence([], [$"127.0.0.1:{server.Port}"]).NewHandler(TimeSpan.FromSeconds(5)));
        using var request = new HttpRequestMessage(HttpMethod.Get, $"http://127.0.0.1:{server.Port}/") { Version = HttpVersion.Version30, VersionPolicy = HttpVersionPolicy.RequestVersionOrHigher };
        using var answer = await http.SendAsync(request);
        Assert.Equal("reached", await answer.Content.ReadAsStringAsync());
        Assert.Equal((HttpVersion.Version20, HttpVersionPolicy.RequestVersionOrLower), (request.Version, request.VersionPolicy));
    }

    [Fact]
    public async Task A_proxy_of_the_environment_is_not_used()
    {
        await using var proxy = new Listener("proxied");
        var before = Environment.GetEnvironmentVariable("http_proxy");
        Environment.SetEnvironmentVariable("http_proxy", $"http://127.0.0.1:{proxy.Port}");
        try
        {
            using var http = new HttpClient(Fence([]).NewHandler(TimeSpan.FromSeconds(5)));
            await Refused(http, "http://nobody.example/");
            Assert.Equal(0, proxy.Connections);
        }
        finally
        {
            Environment.SetEnvironmentVariable("http_proxy", before);
        }
    }

    [Fact]
    public async Task The_next_address_of_a_name_is_tried_when_the_first_does_not_answer()
    {
        await using var server = new Listener("second");
        using var closed = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        var names = new Names { ["two.example"] = ["127.0.0.2", "127.0.0.1"] };
        using var http = new HttpClient(Fence(names, ["127.0.0.0/8"]).NewHandler(TimeSpan.FromSeconds(5)));
        Assert.Equal("second", await http.GetStringAsync($"http://two.example:{server.Port}/"));
    }

    static EgressFence Fence(Names names, string[]? allow = null, string? database = null, string[]? own = null) => new(
        [.. (allow ?? []).Select(entry => EgressTarget.Parse(entry)!)], database is null ? [] : [new(database, 5432)], TimeProvider.System, names.Resolve,
        () => [.. (own ?? []).Select(IPAddress.Parse)]);

    static async Task Refused(HttpClient http, string address)
    {
        var failed = await Assert.ThrowsAsync<HttpRequestException>(() => http.GetStringAsync(address));
        Assert.IsType<EgressException>(failed.InnerException);
    }

    /// <summary>A server of names: each question is answered by the next answer that was put in, and the last one for ever.</summary>
    sealed class Names : ConcurrentDictionary<string, string[]>
    {
        readonly ConcurrentDictionary<string, ConcurrentQueue<string[]>> later = new();
        int asked;

        public int Asked => asked;

        public void Then(string host, string[] addresses) => later.GetOrAdd(host, _ => []).Enqueue(addresses);

        public ValueTask<IPAddress[]> Resolve(string host, CancellationToken ct)
        {
            Interlocked.Increment(ref asked);
            if (!TryGetValue(host.TrimEnd('.').ToLowerInvariant(), out var addresses))
            {
                throw new SocketException((int)SocketError.HostNotFound);
            }
            if (later.TryGetValue(host, out var queue) && queue.TryDequeue(out var next))
            {
                this[host] = next;
            }
            return ValueTask.FromResult<IPAddress[]>([.. addresses.Select(IPAddress.Parse)]);
        }
    }

    /// <summary>Answers every request alike and closes the connection.</summary>
    sealed class Listener : IAsyncDisposable
    {
        readonly LoopbackListener listener;
        int connections;

        public Listener(string body, string? response = null) => listener = new(async socket =>
        {
            Interlocked.Increment(ref connections);
            using (socket)
            {
                await socket.ReceiveAsync(new byte[4096]);
                await socket.SendAsync(Encoding.ASCII.GetBytes(response ?? $"HTTP/1.1 200 OK\r\nContent-Length: {body.Length}\r\nConnection: close\r\n\r\n{body}"));
            }
        });

        public int Port => listener.Port;

        public int Connections => Volatile.Read(ref connections);

        public ValueTask DisposeAsync() => listener.DisposeAsync();
    }
}
