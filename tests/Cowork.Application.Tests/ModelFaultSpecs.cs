using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

using static Cowork.Domain.RunEvent;

namespace Cowork.Application.Tests;

/// <summary>Providers that are away, overloaded, slow or broken. No real time passes: the clock is the test's.</summary>
public sealed class ModelFaultSpecs
{
    public static TheoryData<string> Providers => ["openai", "anthropic"];

    const string Odd = "\0\n\"\\{}[]:,9-e\u2028\uFFFD";

    static string[] Types(IEnumerable<RunEvent> events) => [.. events.Select(e => EventTypes.FeedType(EventTypes.NameOf(e)))];

    static RunError Failure(IEnumerable<RunEvent> events) => Assert.IsType<RunFailed>(events.Last()).Error;

    [Theory]
    [InlineData(408)]
    [InlineData(409)]
    [InlineData(429)]
    [InlineData(500)]
    [InlineData(502)]
    [InlineData(503)]
    [InlineData(529)]
    public async Task A_provider_that_cannot_now_is_asked_again(int status)
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenStatus(status, """{"error":{"message":"Not now."}}""").ThenStatus(status, "<html>").ThenStream(bench.Wire.Say("now"));
        var events = await bench.Run();
        Assert.IsType<RunCompleted>(events[^1]);
        var retried = events.OfType<ModelRetried>().ToList();
        Assert.Equal([(2, 2, "model_unavailable"), (2, 3, "model_unavailable")], retried.Select(r => (r.Step, r.Attempt, r.Code)));
        Assert.Equal($"The model \"clever\" answered {status}: Not now.", retried[0].Message);
        Assert.InRange(retried[0].WaitMs, 250, 500);
        Assert.InRange(retried[1].WaitMs, 500, 1_000);
        Assert.Equal(3, events.OfType<LlmResponse>().Single().Attempt);
        Assert.Equal(3, bench.Server.Asked.Count);
    }

    [Theory]
    [InlineData(400, ": Nonsense.")]
    [InlineData(401, ": it rejects the key: Nonsense.")]
    [InlineData(403, ": it rejects the key: Nonsense.")]
    [InlineData(404, ": Nonsense.")]
    [InlineData(413, ": Nonsense.")]
    [InlineData(422, ": Nonsense.")]
    [InlineData(307, ": it redirects to another address; configure that address")]
    public async Task A_provider_that_will_never_is_asked_once(int status, string words)
    {
        await using var bench = new ModelHarness("anthropic");
        bench.Server.ThenStatus(status, """{"error":{"message":"Nonsense."}}""", "Location: http://127.0.0.1:1/");
        Assert.Equal(new("model_refused", $"The model \"clever\" answered {status}{words}"), Failure(await bench.Run()));
        Assert.Single(bench.Server.Asked);
    }

    [Fact]
    public async Task An_empty_account_is_not_asked_again()
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenStatus(429, """{"error":{"message":"You exceeded your current quota.","code":"insufficient_quota"}}""");
        Assert.Equal("model_refused", Failure(await bench.Run()).Code);
    }

    [Fact]
    public async Task After_the_last_attempt_the_run_fails()
    {
        await using var bench = new ModelHarness("openai");
        for (var i = 0; i < 5; i++)
        {
            bench.Server.ThenStatus(503, "");
        }
        var events = await bench.Run();
        Assert.Equal(new("model_unavailable", "The model \"clever\" answered 503"), Failure(events));
        Assert.Equal(5, bench.Server.Asked.Count);
        Assert.Equal(4, events.OfType<ModelRetried>().Count());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_provider_is_left_alone_for_as_long_as_it_wants(bool asDate)
    {
        await using var bench = new ModelHarness("openai");
        var until = bench.Clock.GetUtcNow().AddSeconds(7);
        bench.Server.ThenStatus(429, "{}", $"Retry-After: {(asDate ? until.ToString("R", CultureInfo.InvariantCulture) : "7")}").ThenStream(bench.Wire.Say("now"));
        var run = await bench.Send();
        await bench.Until(async () => (await bench.Events(run))[^1] is ModelRetried);
        Assert.Equal(7_000, ((ModelRetried)(await bench.Events(run))[^1]).WaitMs);
        Assert.Single(bench.Server.Asked);
        Assert.IsType<RunCompleted>((await bench.Ended(run))[^1]);
        Assert.True(bench.Clock.GetUtcNow() >= until);
    }

    [Fact]
    public async Task A_provider_that_wants_to_be_left_alone_for_too_long_is()
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenStatus(429, "{}", "Retry-After: 3600");
        Assert.Equal("model_unavailable", Failure(await bench.Run()).Code);
    }

    [Fact]
    public async Task Nobody_at_the_address_is_a_provider_that_is_away()
    {
        var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var port = ((IPEndPoint)listener.LocalEndpoint).Port;
        listener.Stop();
        await using var bench = new ModelHarness("openai", s => s with { BaseUrl = new($"http://127.0.0.1:{port}/v1"), Retries = s.Retries with { Attempts = 2 } });
        var events = await bench.Run();
        Assert.Equal("model_unavailable", Failure(events).Code);
        Assert.Single(events.OfType<ModelRetried>());
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task Text_that_was_shown_before_the_stream_broke_does_not_count(string provider)
    {
        await using var bench = new ModelHarness(provider);
        var wire = bench.Wire;
        var shown = new TaskCompletionSource();
        bench.Server
            .Then(async e =>
            {
                await e.Head();
                foreach (var data in wire.Begin.Append(wire.Text("The answer is for")).Append(wire.CallBegin(0, "x", "read_file")))
                {
                    await e.Event(data);
                }
                await shown.Task;
                e.Cut();
            })
            .ThenStream(wire.Say("The answer is 42."));
        var run = await bench.Send();
        await bench.Until(async () => (await bench.Events(run)).Any(e => e is OutputDelta), TimeSpan.FromMilliseconds(100));
        shown.SetResult();
        var events = await bench.Ended(run);
        Assert.Equal(
            ["run_created", "run_started", "memory_retrieval", "output_delta", "model_retried", "output_delta", "llm_response", "assistant_reply", "run_completed"], Types(events));
        Assert.Equal("model_failed", events.OfType<ModelRetried>().Single().Code);
        Assert.Equal("The answer is 42.", await bench.Text(events.OfType<AssistantReply>().Single().Content));
        Assert.Equal(2, events.OfType<LlmResponse>().Single().Attempt);
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task A_stream_that_breaks_again_and_again_fails_the_run(string provider)
    {
        await using var bench = new ModelHarness(provider, s => s with { Retries = s.Retries with { Attempts = 3 } });
        var wire = bench.Wire;
        bench.Server.ThenCut([.. wire.Begin, wire.Text("one")]).ThenStream([.. wire.Begin, wire.Text("two")]).ThenCut();
        Assert.Equal("model_failed", Failure(await bench.Run()).Code);
        Assert.Equal(3, bench.Server.Asked.Count);
    }

    [Theory]
    [InlineData("openai", "{\"choices\":[")]
    [InlineData("openai", "[]")]
    [InlineData("openai", "null")]
    [InlineData("openai", "Internal Server Error")]
    [InlineData("openai", "{\"\\ud800\":1,\"choices\":[]")]
    [InlineData("openai", "{\"error\":{\"message\":\"The engine fell over.\",\"type\":\"server_error\"}}")]
    [InlineData("openai", "{\"error\":\"CUDA out of memory\"}")]
    [InlineData("anthropic", "{\"type\":\"content_block_delta\",")]
    [InlineData("anthropic", "\"text\"")]
    [InlineData("anthropic", "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}")]
    public async Task A_piece_that_makes_no_sense_is_not_guessed_at(string provider, string data)
    {
        await using var bench = new ModelHarness(provider);
        var wire = bench.Wire;
        bench.Server.ThenStream([.. wire.Begin, wire.Text("half"), data, .. wire.End()]).ThenStream(wire.Say("whole"));
        var events = await bench.Run();
        Assert.Single(events.OfType<ModelRetried>());
        Assert.Equal("whole", await bench.Text(events.OfType<AssistantReply>().Single().Content));
    }

    [Theory]
    [InlineData("text/html")]
    [InlineData("application/json")]
    public async Task A_page_is_no_stream(string type)
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.Then(async e =>
        {
            await e.Head(200, type);
            await e.Send("<html>Log in first</html>");
            await e.End();
        });
        Assert.Equal(new("model_refused", $"The model \"clever\" answered {type} instead of a stream of events: Log in first"), Failure(await bench.Run()));
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task Cancelling_stops_a_stream_at_once_and_the_provider_hears_of_it(string provider)
    {
        await using var bench = new ModelHarness(provider);
        var wire = bench.Wire;
        var gone = new TaskCompletionSource();
        bench.Server.Then(async e =>
        {
            await e.Head();
            foreach (var data in wire.Begin.Append(wire.Text("Once upon a time")))
            {
                await e.Event(data);
            }
            await e.Gone();
            gone.SetResult();
        });
        var run = await bench.Send();
        await bench.Until(async () => (await bench.Events(run)).Any(e => e is OutputDelta), TimeSpan.FromMilliseconds(100));
        var standing = bench.Clock.GetUtcNow();
        Assert.Null((await bench.Host.Commands.Execute(RunHarness.Org, RunHarness.User, new CancelRun(run, null), default)).Refused);
        await bench.Until(async () => (await bench.Events(run))[^1] is RunCancelled);
        await gone.Task.WaitAsync(Patience.Limit);
        Assert.Equal(standing, bench.Clock.GetUtcNow()); // nothing waited for a time-out
    }

    [Fact]
    public async Task Cancelling_ends_the_wait_for_the_next_attempt()
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenStatus(429, "{}", "Retry-After: 60");
        var run = await bench.Send();
        await bench.Until(async () => (await bench.Events(run))[^1] is ModelRetried);
        Assert.Null((await bench.Host.Commands.Execute(RunHarness.Org, RunHarness.User, new CancelRun(run, null), default)).Refused);
        await bench.Until(async () => (await bench.Events(run))[^1] is RunCancelled);
        Assert.Single(bench.Server.Asked);
    }

    [Fact]
    public async Task A_provider_that_does_not_begin_is_given_up()
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.Then(e => e.Gone());
        var asking = bench.Client.GetResponseAsync([new(ChatRole.User, "?")]);
        await bench.Server.NextRequest();
        bench.Clock.Advance(ModelTimeouts.Default.FirstContent);
        Assert.Equal("model_unavailable", (await Assert.ThrowsAsync<ModelException>(() => asking)).Code);
    }

    [Theory]
    [InlineData(2, 15, "stood still for 00:02:00")]
    [InlineData(30, 15, "took longer than 00:15:00")]
    public async Task A_provider_that_stops_in_the_middle_is_given_up(int between, int whole, string words)
    {
        await using var bench = new ModelHarness(
            "anthropic", s => s with { Timeouts = s.Timeouts with { Idle = TimeSpan.FromMinutes(between), Total = TimeSpan.FromMinutes(whole) } });
        bench.Server.Then(async e =>
        {
            await e.Head();
            foreach (var data in bench.Wire.Begin.Append(bench.Wire.Text("Well")))
            {
                await e.Event(data);
            }
            await e.Gone();
        });
        await using var answer = bench.Client.GetStreamingResponseAsync([new(ChatRole.User, "?")]).GetAsyncEnumerator();
        Assert.True(await answer.MoveNextAsync());
        Assert.Equal("Well", answer.Current.Text);
        var more = answer.MoveNextAsync();
        bench.Clock.Advance(TimeSpan.FromMinutes(Math.Min(between, whole)));
        var e = await Assert.ThrowsAsync<ModelException>(async () => await more);
        Assert.Equal("model_failed", e.Code);
        Assert.Contains(words, e.Message);
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task The_key_is_told_to_nobody(string provider)
    {
        await using var bench = new ModelHarness(provider, s => s with { Retries = s.Retries with { Attempts = 2 } });
        bench.Server
            .ThenStatus(500, $$$"""{"error":{"message":"Bad header: {{{ModelHarness.Key}}}"}}""")
            .ThenStream([.. bench.Wire.Begin, $$$"""{"type":"error","error":{"message":"I was called with {{{ModelHarness.Key}}}"}}"""]);
        var events = await bench.Run();
        Assert.Contains("Bad header: ***", events.OfType<ModelRetried>().Single().Message);
        Assert.Contains("called with ***", Failure(events).Message);
        foreach (var e in events)
        {
            Assert.DoesNotContain(ModelHarness.Key, Encoding.UTF8.GetString(EventJson.Write(e)));
        }
        // Nor a part of it, where a long message is cut.
        bench.Server.ThenStream([.. bench.Wire.Begin, $$$"""{"type":"error","error":{"message":"{{{new string('x', 1_950)}}}{{{ModelHarness.Key}}}"}}"""]);
        var cut = await Assert.ThrowsAsync<ModelException>(() => bench.Client.GetResponseAsync([new(ChatRole.User, "?")]));
        Assert.DoesNotContain(ModelHarness.Key[..4], cut.Message);
        bench.Server.ThenStatus(401, $$$"""{"error":{"message":"Incorrect API key provided: {{{ModelHarness.Key[..8]}}}***"}}""");
        var refused = await Assert.ThrowsAsync<ModelException>(() => bench.Client.GetResponseAsync([new(ChatRole.User, "?")]));
        Assert.DoesNotContain(ModelHarness.Key[..8], refused.ToString());
        Assert.DoesNotContain(ModelHarness.Key, new ModelSettings { Name = "n", Provider = provider, Model = "m", Key = ModelHarness.Key }.ToString());
    }

    [Fact]
    public async Task A_model_without_a_key_at_a_provider_that_wants_one_is_not_asked()
    {
        await using var bench = new ModelHarness("openai", s => s with { Key = null, BaseUrl = null });
        Assert.Equal(new("model_refused", "The model \"clever\" has no key."), Failure(await bench.Run()));
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task Any_bytes_end_as_an_answer_or_as_an_error_with_a_name(string provider)
    {
        await using var bench = new ModelHarness(provider, s => s with { Retries = ModelRetries.None });
        var wire = bench.Wire;
        string[] whole =
        [
            .. wire.Begin, .. wire.Thinking("h\\ud83d"), wire.Text("a \\u00e4\\ud83d\\ude00"), wire.CallBegin(0, "i", "read_file"),
            wire.CallPiece(0, "{\\\"path\\\":1}"), wire.Text("b"), .. wire.End("tool_calls", 7, 8, 1),
        ];
        var stream = string.Concat(whole.Select(data => data.StartsWith("event:", StringComparison.Ordinal) ? $"{data}\n\n" : $"data: {data}\n\n"));
        foreach (var seed in Seeds.Many(ordinary: 100, chaos: 2_500))
        {
            var random = new Random(seed);
            var bytes = new StringBuilder(stream);
            for (var i = random.Next(1, 6); i > 0; i--)
            {
                var at = random.Next(bytes.Length);
                _ = random.Next(5) switch
                {
                    0 => bytes.Remove(at, Math.Min(random.Next(1, 40), bytes.Length - at)),
                    1 => bytes.Insert(at, Odd[random.Next(Odd.Length)]),
                    2 => bytes.Insert(at, bytes.ToString(at, Math.Min(random.Next(1, 60), bytes.Length - at))),
                    3 => bytes.Insert(at, "\\ud800"),
                    _ => bytes.Remove(at, 1).Insert(at, (char)random.Next(1, 127)),
                };
            }
            bench.Server.Then(async e =>
            {
                await e.Head();
                await e.Send(bytes.ToString());
                await e.End();
            });
            // A round that asks for tools is followed by another.
            bench.Server.ThenStatus(400, "{}");
            var events = await bench.Run(session: "s", message: $"seed {seed}");
            Assert.True(events[^1] is RunCompleted or RunFailed { Error.Code: "model_failed" or "model_refused" or "model_unavailable" }, $"seed {seed}: {events[^1]}");
            bench.Server.Forget();
        }
    }
}
