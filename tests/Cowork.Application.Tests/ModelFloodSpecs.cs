using System.Text;

using Cowork.Application.Models;
using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A provider that sends too much of anything is given up: what is read of it is bounded in bytes and in work, and a cancel is heard at once.</summary>
public sealed class ModelFloodSpecs
{
    static IEnumerable<byte[]> Repeat(string text, int times = int.MaxValue)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        for (var i = 0; i < times; i++)
        {
            yield return bytes;
        }
    }

    static string Many(string item, int count) => string.Join(',', Enumerable.Repeat(item, count));

    static string Event(string json) => $"data: {json}\n\n";

    static string Delta(string delta) => Event($$"""{"choices":[{"index":0,"delta":{{delta}}}]}""");

    static readonly Dictionary<string, (string Provider, IEnumerable<byte[]> Sent, string Words)> Floods = new()
    {
        ["choices"] = ("openai", Repeat(Event($$"""{"choices":[{{Many("{}", 600_000)}}]}"""), 1), "more than 100000 values"),
        ["tool calls"] = ("openai", Repeat(Delta($$"""{"tool_calls":[{{Many("""{"id":"c"}""", 600_000)}}]}"""), 1), "more than 100000 values"),
        ["members of usage"] = ("openai", Repeat(Event($$$"""{"choices":[],"usage":{"a":[{{{Many("1", 600_000)}}}]}}"""), 1), "more than 100000 values"),
        ["parts of a content"] = ("openai", Repeat(Delta($$"""{"content":[{{Many("""{"type":"thinking","thinking":"x"}""", 150_000)}}]}"""), 1), "more than 100000 values"),
        ["calls"] = ("openai", Enumerable.Range(0, 2_000).Select(i => Encoding.UTF8.GetBytes(Delta($$"""{"tool_calls":[{"index":{{i}},"id":"c{{i}}"}]}"""))), "more than 1000 tool calls"),
        ["depth"] = ("openai", Repeat("data: " + new string('[', 1_000_000) + "\n\n", 1), "not of its format"),
        ["a line without an end"] = ("openai", Repeat("data: " + new string('x', 60_000)).Select((b, i) => i == 0 ? b : b[6..]), "longer than 8388608 bytes"),
        ["white space without an end"] = ("openai", Repeat(new string(' ', 60_000)), "longer than 8388608 bytes"),
        ["text without an end"] = ("openai", Repeat(Delta($$"""{"content":"{{new string('x', 60_000)}}"}""")), "more than 8388608 bytes"),
        ["arguments without an end"] = (
            "openai", Repeat(Delta($$$"""{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{{{new string('x', 60_000)}}}"}}]}""")), "more than 8388608 bytes"),
        ["empty pieces without an end"] = ("openai", Repeat(Delta("{}" + new string(' ', 4_000))), "longer than 33554432 bytes"),
        ["empty lines without an end"] = ("openai", Repeat(new string('\n', 60_000)), "longer than 33554432 bytes"),
        ["what only the provider understands"] = (
            "openai", Enumerable.Range(0, 60_000).Select(i => Encoding.UTF8.GetBytes(Delta($$$"""{"extra_content":{"m{{{i}}}":1}}"""))), "more than 50000 members"),
        ["elements of a list"] = (
            "openai", Enumerable.Range(0, 20_000).Select(i => Encoding.UTF8.GetBytes(Delta($$$"""{"reasoning_details":[{"type":"a","index":{{{i}}}}]}"""))), "more than 10000 elements"),
        ["blocks of thinking"] = (
            "anthropic", Enumerable.Range(0, 2_000).Select(i => Encoding.UTF8.GetBytes(
                Event($$$"""{"type":"content_block_start","index":{{{i}}},"content_block":{"type":"thinking","thinking":"x"}}"""))), "more than 1000 blocks"),
        ["text of the other format"] = (
            "anthropic", Repeat(Event($$$"""{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"{{{new string('x', 60_000)}}}"}}""")), "more than 8388608 bytes"),
    };

    public static TheoryData<string> Names => [.. Floods.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task A_provider_that_sends_too_much_is_given_up(string flood)
    {
        var (provider, sent, words) = Floods[flood];
        await using var bench = new ModelHarness(provider);
        bench.Server.ThenBytes(sent);
        var started = TimeProvider.System.GetTimestamp();
        var e = await Assert.ThrowsAsync<ModelException>(async () =>
        {
            await foreach (var _ in bench.Client.GetStreamingResponseAsync([new(ChatRole.User, "?")]).WithCancellation(default))
            {
                // Only the end matters.
            }
        }).WaitAsync(Patience.Limit);
        TestContext.Current.TestOutputHelper?.WriteLine($"{flood}: {TimeProvider.System.GetElapsedTime(started).TotalMilliseconds:0} ms");
        Assert.Equal(ModelException.Failed, e.Code);
        Assert.Contains(words, e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"content":"x"}""")]
    [InlineData("{}")]
    [InlineData("""{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"x"}}]}""")]
    public async Task A_cancel_is_heard_in_the_middle_of_a_flood(string delta)
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenBytes(Repeat(Delta(delta)));
        using var cancel = new CancellationTokenSource();
        var reading = Task.Run(async () =>
        {
            await foreach (var _ in bench.Client.GetStreamingResponseAsync([new(ChatRole.User, "?")], cancellationToken: cancel.Token))
            {
                // Only the end matters.
            }
        });
        await bench.Server.NextRequest();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading.WaitAsync(Patience.Limit));
    }

    /// <summary>A server that says id, name and one character of the arguments with each piece: whether they are whole is found out without parsing them each time.</summary>
    [Fact]
    public async Task A_call_in_many_pieces_that_all_have_its_name_is_one_call()
    {
        await using var bench = new ModelHarness("openai");
        const int pieces = 40_000;
        static string Piece(string arguments) => Delta($$$"""{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{{{arguments}}}"}}]}""");
        bench.Server.ThenBytes(
            Repeat(Piece("{\\\"a\\\":\\\""), 1).Concat(Repeat(Piece("x"), pieces)).Concat(Repeat(Piece("\\\"}"), 1)).Concat(bench.Wire.End("tool_calls").Select(e => Encoding.UTF8.GetBytes(Event(e)))));
        var calls = new List<FunctionCallContent>();
        await foreach (var update in bench.Client.GetStreamingResponseAsync([new(ChatRole.User, "?")]).WithCancellation(default))
        {
            calls.AddRange(update.Contents.OfType<FunctionCallContent>());
        }
        Assert.Equal($$"""{"a":"{{new string('x', pieces)}}"}""", CallArguments.Text(Assert.Single(calls)));
    }

    /// <summary>An error of megabytes that is made for the search for credentials.</summary>
    [Theory]
    [InlineData("a-")]
    [InlineData("key:")]
    [InlineData("bearer ")]
    public async Task An_error_of_megabytes_is_told_by_its_beginning(string repeated)
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenBytes(Repeat(Event($$$"""{"error":{"message":"{{{string.Concat(Enumerable.Repeat(repeated, 1_000_000))}}}"}}"""), 1));
        var e = await Assert.ThrowsAsync<ModelException>(async () =>
        {
            await foreach (var _ in bench.Client.GetStreamingResponseAsync([new(ChatRole.User, "?")]).WithCancellation(default))
            {
                // Only the end matters.
            }
        }).WaitAsync(Patience.Limit);
        Assert.InRange(e.Message.Length, 1, 2_100);
    }
}
