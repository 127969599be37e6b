using System.Net.Sockets;
using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Testing;
using Cowork.Web.Http;

using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Web.Tests;

/// <summary>What those come to who guess tokens, or open connections and send nothing.</summary>
public sealed class AbuseSpecs
{
    [Fact]
    public async Task An_address_that_guesses_is_slowed_down_and_a_right_token_from_it_works()
    {
        await using var host = await LiveHost.Start(settings => settings with { TokenMode = true, Limits = new() { FailuresPerMinute = 5 } });
        var token = await host.Token("a", "member");
        using var known = host.Client(token);
        (await known.Get("/sessions")).Is(200);
        Got? refused = null;
        for (var i = 0; i < 200; i++)
        {
            using var guess = host.Client(BearerToken.New("a", TimeProvider.System.GetUtcNow()).Reveal());
            var got = await guess.Get("/sessions");
            _ = i < 5 ? got.IsProblem(401, "unauthorized") : refused = got.IsProblem(429, "too_many_failures");
        }
        Assert.InRange(refused!.Headers.RetryAfter!.Delta!.Value.TotalSeconds, 1, 60);
        using var nonsense = host.Client("nonsense");
        (await nonsense.Get("/sessions")).IsProblem(429, "too_many_failures");
        // Most guesses did not reach the database.
        Assert.True(host.Services.GetRequiredService<WrongTokens>().Spared > 100);
        (await known.Get("/sessions")).Is(200);
        // One that the host has never seen is looked up in its turn.
        using var admin = host.Client(host.AdminToken);
        var fresh = (await admin.Post("/tokens", """{"name":"n","user":"u","roles":["member"],"org_id":"a"}""")).Is(201)["token"];
        using var first = host.Client(fresh);
        await first.Until("/sessions", got => (int)got.Status == 200);
    }

    [Fact]
    public async Task A_wrong_token_is_looked_up_once_and_works_as_soon_as_it_is_right()
    {
        await using var one = await LiveHost.Start(settings => settings with { TokenMode = true });
        await using var other = await LiveHost.Start(settings => settings with { TokenMode = true, Database = one.Database });
        var old = BearerToken.New("a", TimeProvider.System.GetUtcNow().AddHours(-1));
        using var http = one.Client(old.Reveal());
        var wrong = one.Services.GetRequiredService<WrongTokens>();
        for (var i = 0; i < 5; i++)
        {
            (await http.Get("/sessions")).IsProblem(401, "unauthorized");
        }
        Assert.InRange(wrong.Spared, 3, 4);
        // Its other secrets are looked up.
        var before = wrong.Spared;
        using var second = one.Client(BearerToken.WithNewSecret("a", old.Key).Reveal());
        (await second.Get("/sessions")).IsProblem(401, "unauthorized");
        Assert.Equal(before, wrong.Spared);
        // The other host issues the very token: this one hears of a commit, and looks again.
        var issue = new IssueToken(old.Key, "late", "ann", ["member"], old.SecretSha256);
        Assert.Null((await other.Services.GetRequiredService<ICommandExecutor>().Execute("a", new Origin("user:test"), issue, default)).Refused);
        await http.Until("/sessions", got => (int)got.Status == 200);
    }

    [Fact]
    public async Task A_token_that_was_just_made_is_never_among_the_remembered()
    {
        await using var one = await LiveHost.Start(settings => settings with { TokenMode = true });
        var young = BearerToken.New("a", TimeProvider.System.GetUtcNow());
        using var http = one.Client(young.Reveal());
        (await http.Get("/sessions")).IsProblem(401, "unauthorized");
        (await http.Get("/sessions")).IsProblem(401, "unauthorized");
        Assert.Equal(0, one.Services.GetRequiredService<WrongTokens>().Spared);
    }

    [Fact]
    public async Task Connections_are_bounded_for_each_address_and_end_when_nothing_comes()
    {
        var limits = new HttpLimits { ConnectionsPerAddress = 4, RequestTimeout = TimeSpan.FromSeconds(1) };
        await using var host = await LiveHost.Start(settings => settings with { Limits = limits });
        (await host.Http.Get("/health/ready")).Is(200);
        var connections = host.Services.GetRequiredService<OpenConnections>();
        Assert.Equal(1, connections.Count);
        using var idle = await Connect(host);
        using var slow = await Connect(host);
        await slow.GetStream().WriteAsync("GET /health/live HTTP/1.1\r\nHost: "u8.ToArray());
        using var third = await Connect(host);
        await third.GetStream().WriteAsync(Encoding.ASCII.GetBytes($"GET /health/live HTTP/1.1\r\nHost: {new Uri(host.Url).Authority}\r\n\r\n"));
        Assert.Equal((byte)'H', (byte)third.GetStream().ReadByte());
        Assert.Equal(4, connections.Count);
        Assert.Equal("", await RestOfNew(host));
        Assert.Equal("", await Rest(idle));
        Assert.StartsWith("HTTP/1.1 408", await Rest(slow), StringComparison.Ordinal);
        Assert.True(connections.Refused >= 2);
        (await host.Http.Get("/metrics")).Is(200);
    }

    [Fact]
    public async Task A_body_that_does_not_come_is_refused_and_gives_its_memory_back()
    {
        await using var host = await LiveHost.Start(settings => settings with { Limits = new() { RequestTimeout = TimeSpan.FromMilliseconds(500) } });
        using var slow = await Connect(host);
        var begin = $"POST /sessions HTTP/1.1\r\nHost: {new Uri(host.Url).Authority}\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n{new string(' ', 900_000)}";
        await slow.GetStream().WriteAsync(Encoding.ASCII.GetBytes(begin));
        Assert.StartsWith("HTTP/1.1 408", await Rest(slow), StringComparison.Ordinal);
        (await host.Http.Get("/sessions")).Is(200);
    }

    [Fact]
    public void A_tenant_that_has_taken_all_the_memory_that_it_may_leaves_some_for_the_others()
    {
        var memory = new RequestMemory(new TestClock());
        var part = RequestMemory.Max / 100;
        var shares = new List<RequestShare>();
        bool Takes(string org)
        {
            var share = new RequestShare(memory, org);
            shares.Add(share);
            return share.Begin(part, body: 0);
        }
        while (Takes("greedy"))
        {
        }
        Assert.InRange(shares.Count, 10, 85);
        Assert.True(Takes("other"));
        Assert.True(Takes("third"));
        Assert.False(Takes("greedy"));
        // One that waits needs hardly anything, and one that is answered nothing.
        shares.Take(20).ToList().ForEach(share => share.Wait());
        Assert.True(Takes("greedy"));
        shares.ForEach(share => share.Dispose());
        Assert.False(shares[0].Covers(1));
        for (var i = 0; i < 10; i++)
        {
            Assert.True(Takes("greedy"));
        }
    }

    [Fact]
    public void A_clock_that_is_set_back_slows_nobody_for_longer()
    {
        var clock = new TestClock();
        var wrong = new WrongTokens(new OpenRequests(null!, clock, NullLogger<OpenRequests>.Instance), new() { FailuresPerMinute = 1 }, clock);
        var from = System.Net.IPAddress.Parse("192.0.2.1");
        var token = BearerToken.New("a", clock.GetUtcNow().AddHours(-9));
        Assert.Null(wrong.Failed(token, TokenFault.Unknown, from, 0));
        while (wrong.Slowed(token, from) is null)
        {
        }
        clock.Set(TimeSpan.FromHours(-2));
        clock.Advance(TimeSpan.FromSeconds(2));
        Assert.Null(wrong.Slowed(token, from));
        Assert.NotNull(wrong.Remembered(token));
        clock.Advance(TimeSpan.FromMinutes(1));
        Assert.Null(wrong.Remembered(token));
        for (var i = 0; i < 100; i++)
        {
            Assert.Null(wrong.Slowed(token, from));
        }
    }

    /// <summary>A connection that is refused may be reset before the client hears that it was made.</summary>
    static async Task<string> RestOfNew(LiveHost host)
    {
        try
        {
            using var client = await Connect(host);
            return await Rest(client);
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionReset)
        {
            return "";
        }
    }

    static async Task<TcpClient> Connect(LiveHost host)
    {
        var (address, client) = (new Uri(host.Url), new TcpClient());
        await client.ConnectAsync(address.Host, address.Port);
        return client;
    }

    /// <summary>What comes until the other side ends the connection.</summary>
    static async Task<string> Rest(TcpClient client)
    {
        using var timeout = new CancellationTokenSource(Patience.Limit);
        using var read = new MemoryStream();
        try
        {
            await client.GetStream().CopyToAsync(read, timeout.Token);
        }
        catch (IOException)
        {
            // Reset: it is over, too.
        }
        return Encoding.ASCII.GetString(read.ToArray());
    }
}
