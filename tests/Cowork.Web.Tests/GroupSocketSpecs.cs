using System.Net.WebSockets;
using System.Text.Json;

using Cowork.Domain;
using Cowork.Testing;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>A group's WebSocket: who is let in, what comes on it, and where it goes on.</summary>
public sealed class GroupSocketSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_message_is_stored_and_shown_to_everybody_with_dense_seq()
    {
        var group = await Groups.New(http);
        await using var one = await Groups.Open(tenant, group);
        await using var other = await Groups.Open(tenant, group);
        await one.Say("hello", "m1");
        await other.Say("good day", "m2");
        var (seen, theirs) = (await one.Answered(2), await other.Answered(2));
        Assert.Equal(seen.Select(message => message.GetRawText()), theirs.Select(message => message.GetRawText()));
        Assert.Equal(Enumerable.Range(1, seen.Count).Select(nr => (long)nr), seen.Select(Seq));
        var stored = seen.Where(message => Type(message) == "user_message_stored").ToList();
        Assert.Equal(["m1", "m2"], stored.Select(message => message.GetProperty("message_id").GetString()).Order());
        Assert.All(stored, message => Assert.Equal("local", message.GetProperty("user_id").GetString()));
        // Each is answered, and says to which message it belongs.
        foreach (var id in (string[])["m1", "m2"])
        {
            var answer = seen.Where(message => Type(message) != "user_message_stored" && message.GetProperty("message_id").GetString() == id).ToList();
            Assert.Equal(("agent_start", "done"), (Type(answer[0]), Type(answer[^1])));
            Assert.Equal(1, answer.Count(message => Type(message) == "agent_message"));
        }
    }

    [Fact]
    public async Task A_request_that_is_no_upgrade_is_told_which_one_is_wanted()
    {
        var group = await Groups.New(http);
        var token = await Groups.Token(tenant, group);
        var plain = (await tenant.Host.Http.Get($"/groups/{group}/ws?token={token}")).IsProblem(426, "upgrade_required");
        Assert.Equal(["websocket"], plain.Headers.Upgrade.Select(upgrade => upgrade.ToString()));
        // RFC 6455, 4.4: another version is told the one that is spoken here.
        var (socket, answer) = await RawWebSocket.Ask(
            GroupClient.Address(tenant.Host.Url, group, token), Handshake.Replace("Version: 13", "Version: 8", StringComparison.Ordinal));
        using var _ = socket;
        Assert.StartsWith("HTTP/1.1 426", answer, StringComparison.Ordinal);
        Assert.Contains("Sec-WebSocket-Version: 13", answer, StringComparison.Ordinal);
        // RFC 6455, 4.2.1: a handshake is a GET of HTTP/1.1 or higher.
        foreach (var line in ((string, string)[])[("HEAD", "1.1"), ("GET", "1.0"), ("HEAD", "1.0")])
        {
            var (other, refused) = await RawWebSocket.Ask(GroupClient.Address(tenant.Host.Url, group, token), Handshake, line: line);
            using var __ = other;
            Assert.True(refused.StartsWith("HTTP/1.1 426", StringComparison.Ordinal), $"{line}: {refused}");
        }
    }

    [Theory]
    [InlineData("none", 401)]
    [InlineData("empty", 401)]
    [InlineData("nonsense", 401)]
    [InlineData("expired", 401)]
    [InlineData("twice", 401)]
    [InlineData("of another group", 403)]
    [InlineData("of somebody who is no member", 403)]
    [InlineData("of a group that is not there", 404)]
    [InlineData("of another tenant", 404)]
    [InlineData("with a cursor that is ahead", 422)]
    [InlineData("with a cursor that is no number", 422)]
    public async Task Who_must_not_connect_is_refused_before_the_upgrade(string token, int status)
    {
        var (group, other) = (await Groups.New(http), await Groups.New(http));
        var right = await Groups.Token(tenant, group);
        var none = GroupKey.New(TimeProvider.System.GetUtcNow()).Id;
        var (path, query) = token switch
        {
            "none" => (group, ""),
            "empty" => (group, "token="),
            "nonsense" => (group, "token=a.b.c"),
            "expired" => (group, $"token={await Groups.Token(tenant, group, seconds: -10)}"),
            "twice" => (group, $"token={right}&token={right}"),
            "of another group" => (other, $"token={right}"),
            "of somebody who is no member" => (group, $"token={await Groups.Token(tenant, group, "eve")}"),
            "of a group that is not there" => (none, $"token={await Groups.Token(tenant, none)}"),
            "of another tenant" => (group, $"token={await Groups.Token(tenant.Host, "elsewhere", group)}"),
            "with a cursor that is ahead" => (group, $"token={right}&since=1"),
            _ => (group, $"token={right}&since=x"),
        };
        var (socket, answer) = await RawWebSocket.Ask(new($"{tenant.Host.Url.Replace("http", "ws", StringComparison.Ordinal)}/groups/{path}/ws?{query}"), Handshake);
        using var _ = socket;
        Assert.StartsWith($"HTTP/1.1 {status}", answer, StringComparison.Ordinal);
        Assert.Contains("application/problem+json", answer, StringComparison.Ordinal);
        Assert.Equal(status == 401, answer.Contains("WWW-Authenticate: Bearer", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_page_of_another_site_does_not_connect_to_a_host_in_local_mode()
    {
        var group = await Groups.New(http);
        var address = GroupClient.Address(tenant.Host.Url, group, await Groups.Token(tenant, group));
        var (foreign, refused) = await RawWebSocket.Ask(address, $"{Handshake}\r\nOrigin: https://evil.example");
        var (own, let) = await RawWebSocket.Ask(address, $"{Handshake}\r\nOrigin: {tenant.Host.Url}");
        using var _ = foreign;
        using var __ = own;
        Assert.StartsWith("HTTP/1.1 403", refused, StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 101", let, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("hello", "malformed_json")]
    [InlineData("{\"type\":\"message\",\"text\":\"a\",\"message_id\":\"m\"} x", "malformed_json")]
    [InlineData("", "malformed_json")]
    [InlineData("[]", "invalid_request")]
    [InlineData("{}", "invalid_request")]
    [InlineData("{\"type\":1,\"text\":\"a\",\"message_id\":\"m\"}", "invalid_request", "m")]
    [InlineData("{\"type\":\"typing\",\"message_id\":\"m\"}", "unknown_type", "m")]
    [InlineData("{\"type\":\"message\",\"text\":\"a\"}", "invalid_request")]
    [InlineData("{\"type\":\"message\",\"text\":\"a\",\"message_id\":\"\"}", "invalid_request")]
    [InlineData("{\"type\":\"message\",\"text\":\"a\",\"message_id\":7}", "invalid_request")]
    [InlineData("{\"type\":\"message\",\"text\":\"a\",\"message_id\":\"a\\nb\"}", "invalid_request")]
    [InlineData("{\"type\":\"message\",\"message_id\":\"m\"}", "invalid_request", "m")]
    [InlineData("{\"type\":\"message\",\"text\":\" \",\"message_id\":\"m\"}", "invalid_request", "m")]
    [InlineData("{\"type\":\"message\",\"text\":\"a\\u0000b\",\"message_id\":\"m\"}", "invalid_request", "m")]
    [InlineData("{\"type\":\"message\",\"text\":\"\\ud800\",\"message_id\":\"m\"}", "invalid_request", "m")]
    [InlineData("{\"type\":\"message\",\"text\":\"a\",\"message_id\":\"m\",\"agent_ids\":\"assistant\"}", "invalid_request", "m")]
    [InlineData("{\"type\":\"message\",\"text\":\"a\",\"message_id\":\"m\",\"agent_ids\":[7]}", "invalid_request", "m")]
    [InlineData("{\"type\":\"message\",\"text\":\"a\",\"message_id\":\"m\",\"x\":[[[[[[[[[]]]]]]]]]}", "malformed_json")]
    public async Task A_message_that_means_nothing_is_an_error_to_its_sender_alone_and_the_connection_goes_on(string sent, string code, string? messageId = null)
    {
        var group = await Groups.New(http);
        await using var one = await Groups.Open(tenant, group);
        await using var other = await Groups.Open(tenant, group);
        await one.Send(sent);
        var error = (await one.Next())!.Value;
        Assert.Equal(("error", code, messageId), (Type(error), error.GetProperty("code").GetString(), error.GetProperty("message_id").GetString()));
        Assert.False(error.TryGetProperty("seq", out _));
        var isNotStorable = sent.Contains("\\ud800", StringComparison.Ordinal) || sent.Contains("\\u0000", StringComparison.Ordinal);
        Assert.Equal(isNotStorable, error.GetProperty("message").GetString()!.Contains("lone surrogate", StringComparison.Ordinal));
        Assert.NotEmpty(error.GetProperty("message").GetString()!);
        await one.Say("right", "m2");
        Assert.Equal(1, Seq((await one.Next())!.Value));
        Assert.Equal("m2", (await other.Next())!.Value.GetProperty("message_id").GetString());
    }

    [Fact]
    public async Task A_long_message_is_taken_and_one_that_is_longer_than_messages_may_be_is_not()
    {
        var group = await Groups.New(http);
        await using var one = await Groups.Open(tenant, group);
        var longest = new string('é', 128 * 1024);
        await one.Say(longest, "m1");
        Assert.Equal(longest, (await one.Next())!.Value.GetProperty("text").GetString());
        await one.Answered(1);
        await one.Say(longest + "e", "m2");
        Assert.Equal("invalid_request", (await one.Next())!.Value.GetProperty("code").GetString());
    }

    [Fact]
    public async Task A_reader_goes_on_where_it_stopped_and_history_has_the_same_messages()
    {
        var group = await Groups.New(http);
        await using var one = await Groups.Open(tenant, group);
        for (var i = 1; i <= 30; i++)
        {
            await one.Say($"message {i}", $"m{i}");
        }
        var whole = (await one.Answered(30)).Select(message => message.GetRawText()).ToList();
        var n = whole.Count;
        for (var since = 0; since <= n; since += 30)
        {
            await using var again = await Groups.Open(tenant, group, since);
            Assert.Equal(whole.Skip(since), (await again.Through(n)).Select(message => message.GetRawText()));
        }

        var newest = await Messages(group, "limit=10");
        Assert.Equal((whole.Skip(n - 10), (long)n, true), newest, Pages);
        Assert.Equal((whole.Skip(10).Take(10), (long)n, true), await Messages(group, "limit=10&before=21"), Pages);
        Assert.Equal((whole.Take(10), (long)n, false), await Messages(group, "limit=20&before=11"), Pages);
        Assert.Equal((whole.Take(10), (long)n, true), await Messages(group, "limit=10&since=0"), Pages);
        Assert.Equal((whole.Skip(n - 5), (long)n, false), await Messages(group, $"since={n - 5}"), Pages);
        Assert.Equal((whole.Skip(5).Take(4), (long)n, false), await Messages(group, "since=5&before=10"), Pages);
        Assert.Equal(([], (long)n, false), await Messages(group, $"since={n}"), Pages);
        (await http.Get($"/groups/{group}/messages?since={n + 1}")).IsProblem(422, "cursor_ahead");
        (await http.Get($"/groups/{group}/messages?before=0")).IsProblem(422);
        using var stranger = await tenant.Stranger("admin", "member");
        (await stranger.Get($"/groups/{group}/messages")).IsProblem(404, "not_found");
        (await stranger.Get($"/groups/{group}/presence")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task Presence_says_who_is_connected_until_the_last_connection_ends()
    {
        var group = await Groups.New(http);
        await using var first = await Groups.Open(tenant, group);
        await http.Until($"/groups/{group}/presence", got => Connected(got) is ["local"]);
        await using (await Groups.Open(tenant, group))
        {
        }
        Assert.Equal(["local"], Connected(await http.Get($"/groups/{group}/presence")));
        await first.Socket.CloseAsync(WebSocketCloseStatus.NormalClosure, null, CancellationToken.None);
        await http.Until($"/groups/{group}/presence", got => Connected(got) is []);
    }

    [Fact]
    public async Task A_member_who_is_removed_is_disconnected_within_a_second_and_sees_nothing_after_it()
    {
        var group = await Groups.New(http);
        await Groups.Member(tenant, group, "bob");
        await using var ann = await Groups.Open(tenant, group);
        await using var bob = await Groups.Open(tenant, group, user: "bob");
        await bob.Say("I am here", "m1");
        // What answers him is his to see, and over before he is removed.
        await bob.Answered(1);
        var last = bob.Last;
        await Groups.NoMember(tenant, group, "bob");
        var since = TimeProvider.System.GetTimestamp();
        await ann.Say("he is gone", "m2");
        Assert.Equal(4403, await bob.UntilClosed());
        var until = TimeProvider.System.GetElapsedTime(since);
        Assert.Equal(last, bob.Last);
        Assert.Equal(last + 1, (await ann.Through(last + 1)).Count);
        // As long as it takes on a busy machine to say and to hear something.
        since = TimeProvider.System.GetTimestamp();
        await ann.Say("he is gone", "m3");
        await ann.Until(message => message.TryGetProperty("message_id", out var id) && id.GetString() == "m3");
        Assert.InRange(until, TimeSpan.Zero, Patience.Stretched(TimeSpan.FromSeconds(1)) + TimeProvider.System.GetElapsedTime(since));
        await Assert.ThrowsAsync<WebSocketException>(() => Groups.Open(tenant, group, user: "bob"));
    }

    [Fact]
    public async Task A_client_that_closes_is_answered_and_its_place_is_free()
    {
        var group = await Groups.New(http);
        var open = tenant.Host.Services.GetRequiredService<Http.OpenStreams>();
        var before = open.Of(tenant.Org);
        await using var one = await Groups.Open(tenant, group);
        Assert.Equal(before + 1, open.Of(tenant.Org));
        await one.Socket.CloseAsync(WebSocketCloseStatus.NormalClosure, "done", CancellationToken.None);
        Assert.Equal((WebSocketState.Closed, 1000), (one.Socket.State, one.Closed));
        await http.Until("/health/live", _ => open.Of(tenant.Org) == before);
    }

    static bool Pages((IEnumerable<string> Messages, long LastSeq, bool HasMore) left, (IEnumerable<string> Messages, long LastSeq, bool HasMore) right) =>
        left.LastSeq == right.LastSeq && left.HasMore == right.HasMore && left.Messages.SequenceEqual(right.Messages);

    async Task<(IEnumerable<string> Messages, long LastSeq, bool HasMore)> Messages(string group, string query)
    {
        var got = (await http.Get($"/groups/{group}/messages?{query}")).Is(200);
        return (
            [.. got.Json.GetProperty("messages").EnumerateArray().Select(message => message.GetRawText())], got.Json.GetProperty("last_seq").GetInt64(),
            got.Json.GetProperty("has_more").GetBoolean());
    }

    static string?[] Connected(Got got) => [.. got.Json.GetProperty("connected").EnumerateArray().Select(user => user.GetProperty("user_id").GetString())];

    static string Type(JsonElement message) => message.GetProperty("type").GetString()!;

    static long Seq(JsonElement message) => message.GetProperty("seq").GetInt64();
}
