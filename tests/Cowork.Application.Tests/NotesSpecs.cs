using System.Runtime.CompilerServices;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

using static Cowork.Domain.MemoryEvent;

namespace Cowork.Application.Tests;

/// <summary>What is kept of a run: by the model that answered it, by rule where that fails, and once whatever dies.</summary>
public sealed class NotesSpecs
{
    const string Noted = """{\"summary\": \"Ann asked for the launch; it is on Friday.\", \"learning\": \"The launch is on Friday (plan.txt).\"}""";

    [Theory]
    [InlineData("openai")]
    [InlineData("anthropic")]
    public async Task The_model_that_answered_a_run_is_asked_once_what_to_keep_of_it(string provider)
    {
        await using var bench = new ModelHarness(provider, notes: true);
        bench.Server
            .ThenStream(bench.Wire.Say("On Friday."))
            .ThenStream([.. bench.Wire.Begin, bench.Wire.Text(Noted), .. bench.Wire.End(input: 300, output: 40, cached: 100)]);
        var run = await bench.Send("When is the launch?");
        var events = await bench.Ended(run);
        var notes = await Written(bench, 2);

        var from = new EventRef($"run-{run.Value}", events.Count);
        Assert.Equal("run_completed", EventTypes.FeedType(EventTypes.NameOf(events[^1])));
        Assert.Equal(
            ("session_summary", Content.Of("Ann asked for the launch; it is on Friday."), run, from), (notes[0].Kind, notes[0].Text, notes[0].RunId, notes[0].Event));
        Assert.Equal(("learning", Content.Of("The launch is on Friday (plan.txt)."), run, from), (notes[1].Kind, notes[1].Text, notes[1].RunId, notes[1].Event));
        // 200 input tokens at 2, 100 cached ones at 0.5, 40 output tokens at 8 millionths.
        Assert.Equal(("clever", 300, 40, 770, null), (notes[0].Notes!.Model, notes[0].Notes!.InputTokens, notes[0].Notes!.OutputTokens, notes[0].Notes!.CostMicroUsd, notes[0].Notes!.Failure));
        Assert.Equal(notes[0].Notes! with { InputTokens = 0, OutputTokens = 0, CostMicroUsd = 0 }, notes[1].Notes); // it is told once
        Assert.Equal(15, events.OfType<RunEvent.RunCompleted>().Single().TotalTokens); // the run's own, without its notes
        Assert.Equal(2, bench.Server.Asked.Count);
        var asked = bench.Server.Asked.Last().Body.GetRawText();
        Assert.Contains("When is the launch?", asked, StringComparison.Ordinal);
        Assert.Contains("On Friday.", asked, StringComparison.Ordinal);
        Assert.DoesNotContain("\"tools\"", asked, StringComparison.Ordinal);
        var report = await RunReplay.Of(new LoggedRun(bench.Harness.Engine, bench.Harness.Blobs, RunHarness.Org, run), default);
        Assert.True(report is { Verdict: ReplayReport.Equal, Made.Memories.Count: 2 }, $"{report.Divergence}");
        Assert.Equal(["memory_written.v1", "memory_written.v1"], (await bench.Harness.Engine.OfRun(RunHarness.Org, new("s"), run, default)).TakeLast(2).Select(e => e.Type));
    }

    [Theory]
    [InlineData("I keep no notes.")]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("} {")]
    [InlineData("[1]")]
    [InlineData("{\\\"summary\\\": \\\" \\\"}")]
    [InlineData("{\\\"summary\\\": 5}")]
    [InlineData("{\\\"summary\\\": null}")]
    [InlineData("{\\\"summary\\\": \\\"s\\\", \\\"learning\\\": [\\\"a\\\"]}")]
    [InlineData("{\\\"summary\\\": \\\"s\\\", \\\"learning\\\": {}}")]
    [InlineData("{\\\"summary\\\": \\\"\\\\ud800\\\"}")]
    [InlineData("{\\\"summary\\\": \\\"cut o")]
    public async Task What_makes_no_sense_is_replaced_by_what_a_rule_extracts_and_the_event_says_so(string answer)
    {
        await using var bench = new ModelHarness("openai", notes: true);
        bench.Server.ThenStream(bench.Wire.Say("From the files:\\n- plan.txt:1: Friday")).ThenStream(bench.Wire.Say(answer));
        await bench.Run("When is the launch?");
        var notes = await Written(bench, 2);
        Assert.Equal(Content.Of("Asked: When is the launch? Answered: From the files: - plan.txt:1: Friday"), notes[0].Text);
        Assert.Equal(Content.Of("When is the launch?\n- plan.txt:1: Friday"), notes[1].Text);
        Assert.Equal(("clever", "notes_invalid", 10, 5), (notes[0].Notes!.Model, notes[0].Notes!.Failure!.Code, notes[0].Notes!.InputTokens, notes[0].Notes!.OutputTokens));
        Assert.Equal("notes_invalid", notes[1].Notes!.Failure!.Code);
    }

    [Theory]
    [InlineData("```json\\n" + Noted + "\\n```", "Ann asked for the launch; it is on Friday.", true)]
    [InlineData("Here you are: " + Noted + " Anything else?", "Ann asked for the launch; it is on Friday.", true)]
    [InlineData("{\\\"summary\\\": \\\" Two\\\\nlines. \\\", \\\"learning\\\": null, \\\"more\\\": 1}", "Two lines.", false)]
    [InlineData("{\\\"summary\\\": \\\"No learning.\\\"}", "No learning.", false)]
    [InlineData("{\\\"summary\\\": \\\"Blank.\\\", \\\"learning\\\": \\\" \\\"}", "Blank.", false)]
    [InlineData("{\\\"summary\\\": \\\"a\\\\u0000b\\\"}", "a\\u0000b", false)]
    public async Task A_sensible_answer_is_taken_out_of_what_surrounds_it(string answer, string summary, bool learned)
    {
        await using var bench = new ModelHarness("openai", notes: true);
        bench.Server.ThenStream(bench.Wire.Say("On Friday.")).ThenStream(bench.Wire.Say(answer));
        await bench.Run();
        var notes = await Written(bench, learned ? 2 : 1);
        Assert.Equal(Content.Of(summary), notes[0].Text);
        Assert.Null(notes[0].Notes!.Failure);
    }

    [Theory]
    [InlineData(400, 1, "model_refused")]
    [InlineData(503, 3, "model_unavailable")]
    public async Task A_model_that_fails_for_good_is_asked_as_often_as_it_may_and_then_a_rule_extracts(int status, int requests, string code)
    {
        await using var bench = new ModelHarness("openai", s => s with { Retries = s.Retries with { Attempts = 3 } }, notes: true);
        bench.Server.ThenStream(bench.Wire.Say("On Friday."));
        Enumerable.Range(0, requests).ToList().ForEach(_ => bench.Server.ThenStatus(status, "{}"));
        await bench.Run("When?");
        var notes = await Written(bench, 1);
        Assert.Equal(Content.Of("Asked: When? Answered: On Friday."), notes[0].Text);
        Assert.Equal((code, 0, null), (notes[0].Notes!.Failure!.Code, notes[0].Notes!.InputTokens, notes[0].Notes!.CostMicroUsd));
        Assert.Equal(1 + requests, bench.Server.Asked.Count);
    }

    [Fact]
    public async Task A_model_that_fails_at_first_is_asked_again()
    {
        await using var bench = new ModelHarness("openai", notes: true);
        bench.Server.ThenStream(bench.Wire.Say("On Friday.")).ThenStatus(529, "{}").ThenCut(bench.Wire.Text("{")).ThenStream(bench.Wire.Say(Noted));
        await bench.Run();
        var notes = await Written(bench, 2);
        Assert.Null(notes[0].Notes!.Failure);
        Assert.Equal(4, bench.Server.Asked.Count);
    }

    [Fact]
    public async Task Notes_stay_in_the_trace_of_the_request_that_asked_for_their_run()
    {
        const string Trace = "0af7651916cd43dd8448eb211c80319c";
        var bench = new RunHarness { Memory = new() };
        bench.Models["notetaker"] = new Notetaker(bench.Model);
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        await host.Turns.Submit(RunHarness.Org, RunHarness.User with { Correlation = Trace }, new(new("s"), "one", "notetaker", null, null), default);
        await Work(bench, host);
        var written = (await bench.Engine.Feed(RunHarness.Org, new("s"), 0, 100, default)).Entries.Where(e => e.Type == "memory_written.v1").ToList();
        Assert.Equal([("agent", Trace), ("agent", Trace)], written.Select(e => (e.Actor, e.Correlation)));
    }

    [Fact]
    public async Task A_run_that_did_not_complete_leaves_no_notes()
    {
        await using var bench = new ModelHarness("openai", notes: true);
        bench.Server.ThenStatus(400, "{}");
        Assert.IsType<RunEvent.RunFailed>((await bench.Run())[^1]);
        Assert.Empty(bench.Harness.Engine.Jobs);
        Assert.Empty(await Memories(bench.Harness));
    }

    [Fact]
    public async Task By_rule_the_notes_are_committed_with_the_runs_end_and_nobody_is_asked()
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenStream(bench.Wire.Say("On Friday."));
        var run = await bench.Send("When?");
        var events = await bench.Ended(run);
        var note = Assert.Single(await Memories(bench.Harness));
        Assert.Equal((Content.Of("Asked: When? Answered: On Friday."), new EventRef($"run-{run.Value}", events.Count), null), (note.Text, note.Event, note.Notes));
        Assert.Single(bench.Server.Asked);
        Assert.Empty(bench.Harness.Engine.Jobs);
    }

    [Fact]
    public async Task The_offline_model_is_asked_for_no_notes()
    {
        var bench = new RunHarness { Memory = new(), Options = new() { DefaultModel = "offline" } };
        bench.Models["offline"] = new OfflineModel(Workspace.Files(), bench.Clock);
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        await host.Send("s", "/say Friday.");
        await Work(bench, host);
        Assert.Null(Assert.Single(await Memories(bench)).Notes);
        Assert.Empty(bench.Engine.Jobs);
    }

    [Fact]
    public async Task A_host_that_dies_at_any_commit_leaves_notes_that_another_writes_once()
    {
        foreach (var after in (bool[])[false, true])
        {
            for (var at = 0; ; at++)
            {
                var bench = new RunHarness { Memory = new(), Model = new() };
                var notetaker = new Notetaker(bench.Model);
                bench.Models["notetaker"] = notetaker;
                var host = bench.AddHost("n0");
                await host.OpenSession("s");
                await host.Turns.Submit(RunHarness.Org, RunHarness.User, new(new("s"), "go", "notetaker", null, null), default);
                var (commits, died) = (0, false);
                bench.Engine.FailPoint = (_, happened) =>
                {
                    if (happened == after && commits++ == at)
                    {
                        died = true;
                        throw new HostDiedException();
                    }
                };
                if (!await Work(bench, host))
                {
                    host.Node.Die();
                    host = bench.AddHost("n1");
                    host.Node.ClaimDue();
                    Assert.True(bench.Engine.Jobs.Count == 0 || await Work(bench, host));
                }
                bench.Engine.FailPoint = null;
                Assert.Equal(["learning", "session_summary"], (await Memories(bench)).Select(m => m.Kind).Order());
                Assert.InRange(notetaker.Asked, 1, died ? 2 : 1);
                Assert.Empty(bench.Engine.Jobs);
                await Consistent(bench);
                if (!died)
                {
                    Assert.Equal(3, at); // started, answered and ended, noted
                    break;
                }
            }
        }
    }

    [Fact]
    public async Task Notes_that_come_in_another_order_than_their_runs_lose_nothing()
    {
        var bench = new RunHarness { Memory = new() };
        bench.Models["notetaker"] = new Notetaker(bench.Model);
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        await host.Turns.Submit(RunHarness.Org, RunHarness.User, new(new("s"), "one", "notetaker", null, null), default);
        await host.Turns.Submit(RunHarness.Org, RunHarness.User, new(new("s"), "two", "notetaker", null, null), default);
        var claims = new Stack<Claim>();
        await Work(bench, host, claim =>
        {
            claims.Push(claim);
            return claims.Count < 2;
        });
        foreach (var claim in claims)
        {
            Assert.True(await ((IJobHandler)host.Notes).Run(claim, default));
        }
        Assert.Equal(Content.Of("About two.\nAbout one."), (await Memories(bench)).Last(m => m.Kind == "session_summary").Text);
        Assert.Empty(bench.Engine.Jobs);
    }

    [Fact]
    public async Task A_session_that_was_deleted_is_not_remembered_and_nobody_is_asked()
    {
        var bench = new RunHarness { Memory = new() };
        var notetaker = new Notetaker(bench.Model);
        bench.Models["notetaker"] = notetaker;
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        await host.Turns.Submit(RunHarness.Org, RunHarness.User, new(new("s"), "one", "notetaker", null, null), default);
        var deleted = false;
        await Work(bench, host, _ =>
        {
            deleted = true;
            return false;
        });
        Assert.True(deleted);
        Assert.Null((await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, new DeleteSession(new("s")), default)).Refused);
        host.Node.Die();
        host = bench.AddHost("n1");
        host.Node.ClaimDue();
        Assert.True(await Work(bench, host));
        Assert.Equal(0, notetaker.Asked);
        Assert.Empty(await Memories(bench));
        Assert.Empty(bench.Engine.Jobs);
    }

    [Fact]
    public async Task What_is_retrieved_and_recalled_names_the_run_and_the_event_that_it_came_from()
    {
        var bench = new RunHarness { Options = new() { DefaultModel = "notetaker" }, Memory = new() };
        bench.Models["notetaker"] = new Notetaker(bench.Model);
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        await host.OpenSession("t");
        var first = await host.Send("s", "kraken");
        await Work(bench, host);
        var second = await host.Send("t", "kraken");
        await Work(bench, host);
        var retrieval = (await bench.Engine.Load(RunHarness.Org, $"run-{second.Value}", 0, 100, default)).Events.Select(e => e.Event).OfType<RunEvent.MemoryRetrieval>().Single();
        Assert.Equal(["learning", "session_summary"], retrieval.Provenance.Select(p => p.Kind).Order());
        foreach (var from in retrieval.Provenance)
        {
            Assert.Equal((first, 1), (from.RunId, from.Version));
            var e = (await bench.Engine.Load(RunHarness.Org, from.Event!.StreamId, from.Event.Version - 1, 1, default)).Events.Single();
            Assert.Equal("run_completed.v1", e.Type);
            var memory = (await bench.Engine.Load(RunHarness.Org, $"memory-{from.Id.Value}", from.Version!.Value - 1, 1, default)).Events.Single();
            Assert.Equal((MemoryWritten)memory.Event with { At = default }, new MemoryWritten(
                from.Id, from.Kind, retrieval.Context[retrieval.Provenance.IndexOf(from)], new("s"), first, default, from.Event, ((MemoryWritten)memory.Event).Notes));
        }
        var recall = new Recall(new MemoryBook(host.Commands, host.Queries, bench.Blobs));
        var outcome = await recall.Run(
            new(RunHarness.Org, new("s"), first, Grants.Of(Grant.Of("/w")), "x:1", 1), System.Text.Json.JsonElement.Parse("""{"query":"kraken"}"""), default);
        var version = retrieval.Provenance[0].Event!.Version;
        Assert.Contains($"(learning; {first.Id}, event {version}): Kraken (the source).", outcome.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_remember_keeps_names_the_event_that_its_run_had_come_to()
    {
        var bench = new RunHarness();
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        var run = await host.Send("s", "go");
        var book = new MemoryBook(host.Commands, host.Queries, bench.Blobs);
        var version = 0L;
        bench.Model.Before = async ct =>
        {
            version = (await bench.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, 100, ct)).Version;
            await book.Remember(new(RunHarness.Org, new("s"), run, Grants.Of(Grant.Of("/w")), $"{run.Id}:2", 1), "kraken", ct);
        };
        await Work(bench, host);
        var memory = (await Memories(bench)).Single(m => m.Kind == "memory");
        Assert.InRange(version, 1, 10);
        Assert.Equal((new EventRef($"run-{run.Value}", version), run), (memory.Event, memory.RunId));
    }

    /// <summary>The memories when there are so many and no job is left.</summary>
    static async Task<List<MemoryWritten>> Written(ModelHarness bench, int count)
    {
        await bench.Until(() => Task.FromResult(bench.Harness.Engine.Jobs.Count == 0), TimeSpan.FromMilliseconds(100));
        var notes = await Memories(bench.Harness);
        Assert.Equal(count, notes.Count);
        await Consistent(bench.Harness);
        return notes;
    }

    static async Task<List<MemoryWritten>> Memories(RunHarness bench) =>
        [.. (await bench.Engine.Feed(RunHarness.Org, null, 0, int.MaxValue, default)).Entries.Where(e => e.Type == "memory_written.v1")
            .Select(e => (MemoryWritten)e.Read())];

    static async Task Consistent(RunHarness bench)
    {
        foreach (var model in ReadModels.All)
        {
            Assert.Null(await ((IRows)bench.Engine).FindDifference(model, default));
        }
    }

    /// <summary>Does what the host has to do, one after another, until nothing is left; false: it died.</summary>
    /// <param name="notes">Takes the claims of notes instead; false: that was the last.</param>
    static async Task<bool> Work(RunHarness bench, RunHarness.Host host, Func<Claim, bool>? notes = null)
    {
        using var idle = new CancellationTokenSource(Patience.Limit);
        await foreach (var (claim, lost) in host.Node.Claims(idle.Token))
        {
            try
            {
                if (claim.Kind == RunNotes.JobKind && notes is not null)
                {
                    if (!notes(claim))
                    {
                        return true;
                    }
                    continue;
                }
                IJobHandler handler = claim.Kind == RunNotes.JobKind ? host.Notes : host.Driver;
                if (!await handler.Run(claim, lost))
                {
                    await host.Node.Complete(claim, default);
                }
                if (bench.Engine.Jobs.Count == 0)
                {
                    return true;
                }
            }
            catch (HostDiedException)
            {
                return false;
            }
        }
        return true;
    }

    /// <summary>Cancelled, as far as the code can tell: nothing may be recorded of it.</summary>
    sealed class HostDiedException : OperationCanceledException;

    /// <summary>A model that keeps notes; else it is the scripted one.</summary>
    sealed class Notetaker(ScriptedModel otherwise) : IChatClient
    {
        public int Asked { get; private set; }

        public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
            IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            var asked = messages.Last().Text.Split('\n');
            if (asked[0] != "# Asked")
            {
                await foreach (var update in otherwise.GetStreamingResponseAsync(messages, options, cancellationToken))
                {
                    yield return update;
                }
                yield break;
            }
            Asked++;
            var name = char.ToUpperInvariant(asked[1][0]) + asked[1][1..];
            yield return new(ChatRole.Assistant, $$"""{"summary":"About {{asked[1]}}.","learning":"{{name}} (the source)."}""");
        }

        public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
            GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

        public object? GetService(Type serviceType, object? serviceKey = null) => null;

        public void Dispose()
        {
        }
    }
}
