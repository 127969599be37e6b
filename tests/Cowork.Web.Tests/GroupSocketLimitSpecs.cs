using System.Text;

namespace Cowork.Web.Tests;

/// <summary>What clients of a group's WebSocket send that no client should, and what becomes of them and of the others.</summary>
public sealed class GroupSocketLimitSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const int Protocol = 1002;
    const int Binary = 1003;
    const int NotText = 1007;
    const int Policy = 1008;
    const int TooBig = 1009;

    public static TheoryData<string, int, byte[][]> Frames() => new()
    {
        { "binary", Binary, [RawWebSocket.Frame(RawWebSocket.Binary, "{}")] },
        { "a binary one whose payload never comes", Binary, [RawWebSocket.Frame(RawWebSocket.Binary, [], length: 1 << 20)] },
        { "text that is no UTF-8", NotText, [RawWebSocket.Frame(RawWebSocket.Text, [(byte)'"', 0xC3, 0x28, (byte)'"'])] },
        { "text that ends amid a character", NotText, [RawWebSocket.Frame(RawWebSocket.Text, [0xE2, 0x82])] },
        { "one that says it is huge", TooBig, [RawWebSocket.Frame(RawWebSocket.Text, [], length: (2 << 20) + 1)] },
        { "one that says it is longer than a number", TooBig, [RawWebSocket.Frame(RawWebSocket.Text, [], length: ulong.MaxValue)] },
        { "fragments that are huge together", TooBig,
            [RawWebSocket.Frame(RawWebSocket.Text, new byte[1 << 20], isLast: false), RawWebSocket.Frame(0, new byte[1 << 20], isLast: false), RawWebSocket.Frame(0, "x")] },
        { "one without a mask", Protocol, [RawWebSocket.Frame(RawWebSocket.Text, "{}"u8, isMasked: false)] },
        { "of a kind that there is not", Protocol, [RawWebSocket.Frame(3, "{}")] },
        { "a continuation of nothing", Protocol, [RawWebSocket.Frame(0, "{}")] },
        { "a text amid another", Protocol, [RawWebSocket.Frame(RawWebSocket.Text, "{", isLast: false), RawWebSocket.Frame(RawWebSocket.Text, "}")] },
        { "a ping that is too long", Protocol, [RawWebSocket.Frame(RawWebSocket.Ping, new byte[126])] },
        { "a ping in parts", Protocol, [RawWebSocket.Frame(RawWebSocket.Ping, "a", isLast: false)] },
        { "reserved bits", Protocol, [[0xF1, 0x80, 0, 0, 0, 0]] },
        { "pings without end", Policy, [.. Enumerable.Repeat(RawWebSocket.Frame(RawWebSocket.Ping, "ping"), 2_000)] },
        { "pongs without end", Policy, [.. Enumerable.Repeat(RawWebSocket.Frame(RawWebSocket.Pong, ""), 2_000)] },
        { "fragments without end", Policy, [RawWebSocket.Frame(RawWebSocket.Text, "", isLast: false), .. Enumerable.Repeat(RawWebSocket.Frame(0, "", isLast: false), 2_000)] },
        { "messages without end", Policy, [.. Enumerable.Repeat(RawWebSocket.Frame(RawWebSocket.Text, "{}"), 2_000)] },
        { "large messages without end", Policy, [.. Enumerable.Repeat(RawWebSocket.Frame(RawWebSocket.Text, new string(' ', 1 << 20)), 20)] },
    };

    [Theory]
    [MemberData(nameof(Frames))]
    public async Task Who_sends_such_a_frame_is_told_why_and_disconnected_and_nobody_else_is(string what, int code, byte[][] frames)
    {
        var group = await Groups.New(tenant.Http);
        await using var other = await Groups.Open(tenant, group);
        using var socket = await Raw(group);
        Assert.True(await socket.UntilClosedAfter(frames) is var closed && closed == code, $"{what}: {closed}");
        await other.Say("still here", "m1");
        Assert.Equal("still here", (await other.Through(1))[^1].GetProperty("text").GetString());
    }

    [Fact]
    public async Task A_message_in_many_pieces_with_pings_between_them_is_one_message()
    {
        var group = await Groups.New(tenant.Http);
        using var socket = await Raw(group);
        var message = Encoding.UTF8.GetBytes("""{"type":"message","text":"in pieces €","message_id":"m1"}""");
        for (var i = 0; i < message.Length; i++)
        {
            await socket.Send(RawWebSocket.Frame(i == 0 ? RawWebSocket.Text : (byte)0, message.AsSpan(i, 1), isLast: i == message.Length - 1));
            if (i % 10 == 0)
            {
                await socket.Send(RawWebSocket.Frame(RawWebSocket.Ping, $"{i}"));
            }
        }
        var pongs = new List<string>();
        while (await socket.Next() is { } frame)
        {
            if (frame.Opcode == RawWebSocket.Text)
            {
                Assert.Contains("in pieces €", Encoding.UTF8.GetString(frame.Payload), StringComparison.Ordinal);
                break;
            }
            Assert.Equal(RawWebSocket.Pong, frame.Opcode);
            pongs.Add(Encoding.UTF8.GetString(frame.Payload));
        }
        Assert.Equal(["0", "10", "20", "30", "40", "50"], pongs);
        await socket.Send(RawWebSocket.Frame(RawWebSocket.Close, [0x03, 0xE8]));
        Assert.Equal(1000, await socket.UntilClosed());
    }

    async Task<RawWebSocket> Raw(string group) => await RawWebSocket.Open(GroupClient.Address(tenant.Host.Url, group, await Groups.Token(tenant, group)));
}
