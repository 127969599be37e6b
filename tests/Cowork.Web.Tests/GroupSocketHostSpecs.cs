using System.Net.Sockets;
using System.Net.WebSockets;
using System.Text.Json;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Testing;

using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Cowork.Web.Tests;

/// <summary>Groups' WebSockets on hosts of their own: two hosts of one database, hosts that stop, limits that are soon reached, readers that stop.</summary>
public sealed class GroupSocketHostSpecs
{
    static readonly Http.FrameLimits Usual = Http.FrameLimits.Default;

    [Fact]
    public async Task Two_hosts_serve_one_group_and_its_members_go_on_at_either_of_them()
    {
        await using var one = await LiveHost.Start();
        await using var other = await Beside(one);
        var group = await Groups.New(one.Http);
        var random = new Random(Seeds.One(1));
        await using var left = await Open(one, group);
        await using var right = await Open(other, group);
        for (var i = 0; i < 20; i++)
        {
            await (random.Next(2) == 0 ? left : right).Say($"message {i}", $"m{i}");
        }
        var (seen, theirs) = (Texts(await left.Answered(20)), Texts(await right.Answered(20)));
        Assert.Equal(seen, theirs);
        Assert.Equal(20, seen.Select(text => JsonElement.Parse(text).GetProperty("message_id").GetString()).Distinct().Count());
        for (var tries = 0; tries < 10; tries++)
        {
            var since = random.Next(seen.Count + 1);
            await using var again = await Open(random.Next(2) == 0 ? one : other, group, since);
            Assert.Equal(seen.Skip(since), Texts(await again.Through(seen.Count)));
        }
        // Both hosts tell of both.
        await other.Http.Until($"/groups/{group}/presence", got => got.Json.GetProperty("connected").GetArrayLength() == 1);
        (await one.Http.Until($"/groups/{group}", got => got.Json.GetProperty("members")[0].GetProperty("connected").GetBoolean())).Is(200);
    }

    [Fact]
    public async Task A_member_who_is_removed_at_one_host_is_disconnected_from_the_other_within_a_second()
    {
        await using var one = await LiveHost.Start();
        await using var other = await Beside(one);
        var group = await Groups.New(one.Http);
        await Groups.Member(one, "default", group, "bob");
        await Groups.Member(one, "default", group, "eve");
        // Right after the other host has begun, of which the first one must have heard by now.
        await using var bob = await Open(other, group, user: "bob");
        await using var eve = await Open(one, group, user: "eve");
        var there = await Removal("bob", bob);
        // As long as it takes on a busy machine in any case.
        var here = await Removal("eve", eve);
        Assert.InRange(there, TimeSpan.Zero, Patience.Stretched(TimeSpan.FromSeconds(1)) + here);

        async Task<TimeSpan> Removal(string user, GroupClient client)
        {
            await Groups.NoMember(one, "default", group, user);
            var at = TimeProvider.System.GetTimestamp();
            Assert.Equal(4403, await client.UntilClosed());
            return TimeProvider.System.GetElapsedTime(at);
        }
    }

    [Fact]
    public async Task A_connection_ends_when_the_API_token_or_the_key_behind_it_is_revoked_on_any_host()
    {
        await using var one = await LiveHost.Start();
        await using var other = await Beside(one);
        using var admin = one.Client(one.AdminToken);
        using var ann = one.Client(await one.Token("acme", "member", "admin"));
        var group = await Groups.New(ann);
        var token = (await ann.Post($"/groups/{group}/token", "{}")).Is(200)["routing_token"];
        await using var client = await GroupClient.Open(other.Url, group, token);
        await client.Say("hello", "m1");
        await client.Until("user_message_stored");
        var id = (await ann.Get("/tokens")).Is(200).Json.GetProperty("tokens")[0].GetProperty("token_id").GetString();
        (await ann.Delete($"/tokens/{id}")).Is(204);
        Assert.Equal(4401, await client.UntilClosed());
        // The routing token itself has not expired.
        await Assert.ThrowsAsync<System.Net.WebSockets.WebSocketException>(() => GroupClient.Open(one.Url, group, token));
    }

    [Fact]
    public async Task A_host_that_stops_says_so_and_its_clients_go_on_at_another()
    {
        await using var other = await LiveHost.Start();
        var stopping = await Beside(other);
        var group = await Groups.New(other.Http);
        await using var client = await Open(stopping, group);
        await client.Say("before", "m1");
        await client.Through(1);
        var stop = stopping.DisposeAsync();
        Assert.Equal(1001, await client.UntilClosed());
        await stop;
        await using var again = await Open(other, group, client.Last);
        await again.Say("after", "m2");
        Assert.Equal("after", (await again.Until("user_message_stored"))[^1].GetProperty("text").GetString());
        await other.Http.Until($"/groups/{group}/presence", got => got.Json.GetProperty("connected").GetArrayLength() == 1);
    }

    [Fact]
    public async Task A_group_that_is_archived_shows_its_end_and_then_ends_its_connections()
    {
        await using var host = await LiveHost.Start();
        var group = await Groups.New(host.Http);
        await using var client = await Open(host, group);
        await client.Say("the last word", "m1");
        await client.Through(1);
        Assert.True((int)(await host.Http.Post($"/groups/{group}/archive", """{"reason":"done"}""")).Status < 300);
        Assert.Equal(4409, await client.UntilClosed());
        var (socket, answer) = await RawWebSocket.Ask(
            GroupClient.Address(host.Url, group, await Groups.Token(host, "default", group)),
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
        using var _ = socket;
        Assert.StartsWith("HTTP/1.1 409", answer, StringComparison.Ordinal);
        Assert.Contains("the last word", (await host.Http.Get($"/groups/{group}/messages")).Is(200).Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_message_that_does_not_end_is_given_up()
    {
        await using var host = await LiveHost.Start(settings => settings with { Limits = settings.Limits with { Frames = Usual with { MessageTime = TimeSpan.FromMilliseconds(300) } } });
        var group = await Groups.New(host.Http);
        foreach (var beginning in (byte[][])[[0x81], RawWebSocket.Frame(RawWebSocket.Text, "{"u8, length: 100), RawWebSocket.Frame(RawWebSocket.Text, "{", isLast: false), [0x89, 0xFD]])
        {
            using var socket = await RawWebSocket.Open(GroupClient.Address(host.Url, group, await Groups.Token(host, "default", group)));
            await socket.Send(beginning);
            Assert.Equal(1008, await socket.UntilClosed());
        }
    }

    [Fact]
    public async Task A_client_that_answers_no_ping_is_disconnected()
    {
        await using var host = await LiveHost.Start(settings => settings with
        {
            KeepAlive = TimeSpan.FromMilliseconds(200),
            Limits = settings.Limits with { Frames = Usual with { SendTime = TimeSpan.FromMilliseconds(500) } },
        });
        var group = await Groups.New(host.Http);
        var open = host.Services.GetRequiredService<Http.OpenStreams>();
        using var silent = await RawWebSocket.Open(GroupClient.Address(host.Url, group, await Groups.Token(host, "default", group)));
        await host.Http.Until("/health/live", _ => open.Count == 0);
    }

    [Fact]
    public async Task A_reader_that_stops_delays_nobody_and_one_that_is_slow_misses_nothing()
    {
        const int Messages = 40;
        await using var host = await LiveHost.Start(settings => settings with
        {
            Limits = settings.Limits with { MessagesPerSecond = 1_000, Frames = Usual with { SendTime = TimeSpan.FromSeconds(3), FramesAtOnce = 100_000 } },
        });
        var group = await Groups.New(host.Http);
        var token = await Groups.Token(host, "default", group);
        using var stopped = await RawWebSocket.Open(GroupClient.Address(host.Url, group, token), receiveBuffer: 4096);
        await using var writer = await Open(host, group);
        await using var reader = await Open(host, group);
        var text = new string('w', 200_000);
        var all = new List<JsonElement>();
        for (var i = 1; i <= Messages; i++)
        {
            await writer.Say(text, $"m{i}");
            // It has been shown to whoever reads, whatever the other does.
            await writer.Until(message => message.GetProperty("type").GetString() == "user_message_stored");
            if (i % 3 == 0)
            {
                all.Add((await reader.Next())!.Value);
            }
        }
        // It is further behind than what the host holds.
        all.AddRange(await reader.Until(message => message.GetProperty("type").GetString() == "user_message_stored" && message.GetProperty("message_id").GetString() == $"m{Messages}"));
        Assert.Equal(Enumerable.Range(1, all.Count).Select(i => (long)i), all.Select(message => message.GetProperty("seq").GetInt64()));
        var open = host.Services.GetRequiredService<Http.OpenStreams>();
        await host.Http.Until("/health/live", _ => open.Count == 2);
    }

    [Fact]
    public async Task A_member_who_says_too_much_at_once_or_connects_too_often_is_told()
    {
        await using var host = await LiveHost.Start(settings => settings with { Limits = settings.Limits with { MessagesPerSecond = 1, SocketsPerMember = 2 } });
        var group = await Groups.New(host.Http);
        await using var one = await Open(host, group);
        await using var other = await Open(host, group);
        // The sixth one, or a later one where a second has gone by meanwhile.
        for (var i = 0; i < 30; i++)
        {
            await one.Say($"message {i}", $"m{i}");
        }
        var seen = await one.Until("error");
        Assert.Equal("rate_limited", seen[^1].GetProperty("code").GetString());
        var refusedId = seen[^1].GetProperty("message_id").GetString()!;
        Assert.InRange(int.Parse(refusedId[1..], System.Globalization.CultureInfo.InvariantCulture), 5, 29);
        var refused = await Assert.ThrowsAsync<WebSocketException>(() => Open(host, group));
        Assert.Contains("429", refused.Message, StringComparison.Ordinal);
        await Groups.Member(host, "default", group, "bob");
        await using var bob = await Open(host, group, user: "bob");
        await bob.Say("I am another one", "m1");
        var said = (await bob.Until(message => message.TryGetProperty("user_id", out var user) && user.GetString() == "bob"))
            .Where(message => message.GetProperty("type").GetString() == "user_message_stored").Select(message => message.GetProperty("message_id").GetString()).ToList();
        Assert.Equal(["m0", "m1", "m2", "m3", "m4"], said.Take(5));
        Assert.DoesNotContain(refusedId, said);
        Assert.Equal(said, (await other.Until(message => message.TryGetProperty("user_id", out var user) && user.GetString() == "bob"))
            .Where(message => message.GetProperty("type").GetString() == "user_message_stored").Select(message => message.GetProperty("message_id").GetString()));
    }

    [Fact]
    public async Task Ten_agents_of_each_group_that_there_may_be_answer_at_once_and_another_tenant_is_served_meanwhile()
    {
        const int Agents = 10;
        await using var host = await LiveHost.Start(settings => settings with
        {
            TokenMode = true,
            Agents = [.. Enumerable.Range(0, Agents).Select(nr => new AgentDefinition($"agent{nr}", $"agent{nr}"))],
        });
        using var ann = host.Client(await host.Token("flood", "member"));
        using var bob = host.Client(await host.Token("calm", "member"));
        var agents = JsonSerializer.Serialize(Enumerable.Range(0, Agents).Select(nr => $"agent{nr}"));
        var groups = new List<string>();
        for (var i = 0; i < Limits.ActiveGroupsMax; i++)
        {
            groups.Add((await ann.Post("/groups", $$"""{"title":"talk","agent_ids":{{agents}}}""")).Is(201)["group_id"]);
        }
        // A hundred mentions, ten of each agent, and as many of nobody.
        var text = string.Join(' ', Enumerable.Range(0, 100).Select(nr => $"@agent{nr % Agents} @nobody{nr}")) + "\n/say done";
        var posted = await Task.WhenAll(groups.Select(group => ann.Post($"/groups/{group}/messages", JsonSerializer.Serialize(new { text, message_id = "m1" }))));
        Assert.All(posted, got => Assert.Equal(Agents, got.Is(202).Json.GetProperty("runs").GetArrayLength()));
        Assert.Equal("completed", (await bob.Turn(await bob.NewSession(), "/say served")).Is(200)["status"]);
        foreach (var group in groups)
        {
            await ann.Until(
                $"/groups/{group}/messages?limit=1000",
                got => got.Json.GetProperty("messages").EnumerateArray().Count(message => message.GetProperty("type").GetString() == "done") == Agents);
        }
    }

    [Fact]
    public async Task Connections_that_have_become_WebSockets_count_among_those_of_the_host()
    {
        const int Connections = 10;
        await using var host = await LiveHost.Start(settings => settings with { ConnectionsMax = Connections });
        var group = await Groups.New(host.Http);
        var address = GroupClient.Address(host.Url, group, await Groups.Token(host, "default", group));
        var all = host.Services.GetRequiredService<Http.OpenConnections>();
        var sockets = new List<RawWebSocket>();
        while (all.Count < Connections - 2)
        {
            sockets.Add(await RawWebSocket.Open(address));
        }
        var refused = all.Refused;
        for (var i = 0; i < 10; i++)
        {
            try
            {
                sockets.Add(await RawWebSocket.Begin(address));
            }
            catch (Exception e) when (e is SocketException or IOException)
            {
                // It is one of those that are refused, and had not sent all of its request.
            }
        }
        await host.Http.Until("/health/live", _ => all.Refused > refused);
        Assert.InRange(all.Count, 1, Connections);
        sockets.ForEach(socket => socket.Dispose());
    }

    [Fact]
    public async Task Nothing_that_the_host_writes_down_has_a_routing_token()
    {
        var log = new LogCollector();
        await using var host = await LiveHost.Start(settings => settings with { SecurityFold = TimeSpan.FromMilliseconds(1) },
            all => all.SetMinimumLevel(LogLevel.Trace).AddFilter("Microsoft", LogLevel.Trace).Services.AddSingleton<ILoggerFactory>(
                services => new LoggerFactory([new Collected(log)], services.GetRequiredService<IOptionsMonitor<LoggerFilterOptions>>())));
        var (group, other) = (await Groups.New(host.Http), await Groups.New(host.Http));
        var (right, expired) = (await Groups.Token(host, "default", group), await Groups.Token(host, "default", group, seconds: -10));
        await using (var client = await GroupClient.Open(host.Url, group, right))
        {
            await client.Say("hello", "m1");
            await client.Through(1);
        }
        foreach (var (to, token) in (IEnumerable<(string, string)>)[(group, expired), (other, right), (group, right + "x")])
        {
            await Assert.ThrowsAsync<WebSocketException>(() => GroupClient.Open(host.Url, to, token));
        }
        await host.Http.Until("/events?limit=1000", got => got.Text.Contains("foreign_group", StringComparison.Ordinal));
        var events = (await host.Http.Get("/events?limit=1000")).Is(200).Text;
        Assert.True(log.Has("Cowork listens on"));
        foreach (var secret in (string[])[right.Split('.')[2], expired.Split('.')[2], right.Split('.')[1], "token="])
        {
            Assert.DoesNotContain(secret, events, StringComparison.Ordinal);
            Assert.DoesNotContain(secret, log.Text, StringComparison.Ordinal);
        }
    }

    static Task<LiveHost> Beside(LiveHost one) => LiveHost.Start(settings => settings with { Database = one.Database, MasterKeys = _ => MasterKeySource.Read(_ => null, one.Data) });

    static async Task<GroupClient> Open(LiveHost host, string group, long? since = null, string user = "local") =>
        await GroupClient.Open(host.Url, group, await Groups.Token(host, "default", group, user), since);

    static List<string> Texts(IEnumerable<JsonElement> messages) => [.. messages.Select(message => message.GetRawText())];

    /// <summary>Has the filters of the host judge what is kept.</summary>
    sealed class Collected(LogCollector log) : ILoggerProvider
    {
        public ILogger CreateLogger(string categoryName) => log;

        public void Dispose()
        {
        }
    }
}
