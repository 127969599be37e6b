using System.Net;
using System.Net.WebSockets;
using System.Text.Json;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>Groups' WebSockets over HTTP/2 (RFC 8441), which a host speaks over TLS. Those of one client share a connection.</summary>
public sealed class GroupSocketHttp2Specs(TlsHost tls) : IClassFixture<TlsHost>, IDisposable
{
    static int _orgs;

    readonly LiveHost host = tls.Host;

    readonly HttpMessageInvoker connection = new(AnyCertificate.Handler(1));

    public void Dispose() => connection.Dispose();

    [Fact]
    public async Task Members_talk_over_one_connection_and_go_on_over_HTTP_2_or_1_1()
    {
        var (org, group, _) = await Group("talking");
        await Groups.Member(host, org, group, "bob");
        var others = host.Services.GetRequiredService<Http.OpenConnections>();
        await using var ann = await Open(org, group);
        var connections = others.Count;
        await using var bob = await Open(org, group, user: "bob");
        Assert.Equal(connections, others.Count);
        Assert.Equal(WebSocketState.Open, ann.Socket.State);
        await ann.Say("/say hello over one connection", "m1");
        var (hers, his) = (await ann.Answered(1), await bob.Answered(1));
        Assert.Equal(hers.Select(message => message.GetRawText()), his.Select(message => message.GetRawText()));
        Assert.Equal("hello over one connection", hers.Single(message => Type(message) == "agent_message").GetProperty("text").GetString());
        for (var since = 0; since < hers.Count; since++)
        {
            await using var again = await Open(org, group, since);
            await using var older = await GroupClient.Open(
                host.Url, group, await Groups.Token(host, org, group, "ann"), since, options => options.RemoteCertificateValidationCallback = (_, certificate, _, _) => certificate is not null);
            var rest = hers.Skip(since).Select(message => message.GetRawText()).ToList();
            Assert.Equal(rest, (await again.Through(hers.Count)).Select(message => message.GetRawText()));
            Assert.Equal(rest, (await older.Through(hers.Count)).Select(message => message.GetRawText()));
        }
        await ann.Socket.CloseAsync(WebSocketCloseStatus.NormalClosure, null, CancellationToken.None);
        await bob.Say("still here", "m2");
        Assert.Equal("still here", (await bob.Until("user_message_stored"))[^1].GetProperty("text").GetString());
    }

    [Theory]
    [InlineData("no token", HttpStatusCode.Unauthorized)]
    [InlineData("expired", HttpStatusCode.Unauthorized)]
    [InlineData("another group's", HttpStatusCode.Forbidden)]
    [InlineData("no member", HttpStatusCode.Forbidden)]
    [InlineData("ahead", HttpStatusCode.UnprocessableEntity)]
    public async Task What_is_refused_before_the_upgrade_is_so_here_too(string what, HttpStatusCode status)
    {
        var (org, group, _) = await Group("refused");
        var token = what switch
        {
            "no token" => null,
            "expired" => await Groups.Token(host, org, group, "ann", seconds: -10),
            "another group's" => await Groups.Token(host, org, (await Group("refused")).Group, "ann"),
            "no member" => await Groups.Token(host, org, group, "eve"),
            _ => await Groups.Token(host, org, group, "ann"),
        };
        using var answer = await RawWebSocket.Connect(connection, GroupClient.Address(host.Url, group, token, what == "ahead" ? 1_000 : null));
        Assert.Equal((status, "application/problem+json"), (answer.StatusCode, answer.Content.Headers.ContentType?.MediaType));
        using var socket = new ClientWebSocket { Options = { CollectHttpResponseDetails = true } };
        Over2(socket.Options);
        await Assert.ThrowsAsync<WebSocketException>(() => socket.ConnectAsync(GroupClient.Address(host.Url, group, token, what == "ahead" ? 1_000 : null), connection, default));
        Assert.Equal(status, socket.HttpStatusCode);
    }

    [Fact]
    public async Task Only_a_WebSocket_is_opened()
    {
        var (org, group, member) = await Group("other");
        var address = GroupClient.Address(host.Url, group, await Groups.Token(host, org, group, "ann"));
        using var answer = await RawWebSocket.Connect(connection, address, "connect-udp");
        Assert.InRange((int)answer.StatusCode, 400, 499);
        using var plain = host.Client(null, HttpVersion.Version20);
        (await plain.Get(address.PathAndQuery)).IsProblem(426, "upgrade_required");
        (await member.Get($"/groups/{group}")).Is(200);
    }

    [Theory]
    [MemberData(nameof(GroupSocketLimitSpecs.Frames), MemberType = typeof(GroupSocketLimitSpecs))]
    public async Task Who_sends_such_a_frame_is_told_why_and_the_others_of_the_connection_go_on(string what, int code, byte[][] frames)
    {
        var (org, group, _) = await Group("frames");
        await using var other = await Open(org, group);
        using (var socket = await RawWebSocket.Open(connection, GroupClient.Address(host.Url, group, await Groups.Token(host, org, group, "ann"))))
        {
            Assert.True(await socket.UntilClosedAfter(frames) is var closed && closed == code, $"{what}: {closed}");
        }
        await other.Say("still here", "m1");
        Assert.Equal("still here", (await other.Through(1))[^1].GetProperty("text").GetString());
    }

    [Fact]
    public async Task A_removal_and_a_revoked_token_end_their_connections_and_no_other()
    {
        var (org, group, member) = await Group("removed");
        await Groups.Member(host, org, group, "bob");
        await using var bob = await Open(org, group, user: "bob");
        await using var ann = await Open(org, group);
        var issued = (await member.Post("/tokens", """{"name":"brief"}""")).Is(201);
        using var brief = host.Client(issued["token"]);
        await using var other = await GroupClient.Open(
            host.Url, group, (await brief.Post($"/groups/{group}/token", "{}")).Is(200)["routing_token"], options: Over2, over: connection);
        await Groups.NoMember(host, org, group, "bob");
        Assert.Equal(4403, await bob.UntilClosed());
        (await member.Delete($"/tokens/{issued["token_id"]}")).Is(204);
        Assert.Equal(4401, await other.UntilClosed());
        await ann.Say("still here", "m1");
        Assert.Equal("still here", (await ann.Until("user_message_stored"))[^1].GetProperty("text").GetString());
    }

    [Fact]
    public async Task A_reader_that_stops_holds_up_neither_the_others_of_its_connection_nor_the_host()
    {
        const int Messages = 12;
        var (org, group, _) = await Group("stopped");
        using var stopped = await RawWebSocket.Open(connection, GroupClient.Address(host.Url, group, await Groups.Token(host, org, group, "ann")));
        await using var writer = await Open(org, group);
        var text = new string('w', 200_000);
        for (var i = 1; i <= Messages; i++)
        {
            await writer.Say(text, $"m{i}");
            await writer.Until("user_message_stored");
        }
        // It takes what it has not taken, and is where it was.
        var read = 0;
        while (read < Messages && await stopped.Next() is { } frame)
        {
            read += frame.Payload.AsSpan().IndexOf("user_message_stored"u8) >= 0 ? 1 : 0;
        }
        Assert.Equal(Messages, read);
    }

    async Task<GroupClient> Open(string org, string group, long? since = null, string user = "ann") =>
        await GroupClient.Open(host.Url, group, await Groups.Token(host, org, group, user), since, Over2, connection);

    static void Over2(ClientWebSocketOptions options) => (options.HttpVersion, options.HttpVersionPolicy) = (HttpVersion.Version20, HttpVersionPolicy.RequestVersionExact);

    /// <summary>A new group of ann's, and ann.</summary>
    async Task<(string Org, string Group, HttpClient Member)> Group(string name)
    {
        var org = $"{name}-{Interlocked.Increment(ref _orgs)}";
        var member = host.Client(await host.Token(org, "member", "admin"));
        return (org, (await member.Post("/groups", """{"title":"talk"}""")).Is(201)["group_id"], member);
    }

    static string? Type(JsonElement message) => message.GetProperty("type").GetString();
}
