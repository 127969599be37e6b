using System.Text.Json.Nodes;

using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Runs that go off from recorded ones: what is recorded is served, nothing outside is changed, and what is judged otherwise is where they part.</summary>
public sealed class CounterfactualSpecs
{
    static readonly string[] Effects = ["memory-", "artifact-", "scratchpad-", "connection-", "schedule-"];

    [Fact]
    public async Task From_every_event_of_generated_runs_a_counterfactual_that_changes_nothing_does_what_was_recorded_and_nothing_outside()
    {
        var (made, sources) = (0, new HashSet<string>(StringComparer.Ordinal));
        var wanted = new HashSet<string>(["llm_response recorded", "tool_result recorded", "tool_result stub", "approval_served", "feedback_received recorded"]);
        foreach (var seed in Seeds.Many(ordinary: 8, chaos: 400))
        {
            if (!Seeds.Chaos && made >= 200 && wanted.IsSubsetOf(sources))
            {
                // When hosts die depends on the machine: most often three seeds have all of it.
                break;
            }
            using var runs = new RecordedRuns(seed);
            await runs.Make(6);
            runs.Settle();
            var (engine, files, before) = (runs.Harness.Engine, runs.Files, (await runs.Harness.Engine.Feed(RunHarness.Org, null, 0, 1, default)).Head);
            var asked = runs.AskedSource;
            foreach (var run in runs.Runs)
            {
                var entries = await engine.OfRun(RunHarness.Org, new(RecordedRuns.Session), run, default);
                var own = entries.Where(e => e.Stream == Run.Aggregate.Stream(run)).ToList();
                foreach (var entry in own.Where(e => !e.Is<RunEvent.OutputDelta>()))
                {
                    var at = $"seed {seed}: {run.Id} from {entry.FeedId} {entry.Type}";
                    if (await Start(runs, run, new(entry.FeedId)) is not { } other)
                    {
                        Assert.DoesNotContain(own, e => e.Is<RunEvent.MemoryRetrieval>());
                        continue;
                    }
                    made++;
                    await runs.Host.Drive();
                    sources.UnionWith(await Sources(engine, other));
                    var found = await Compare(runs, run, other);
                    // Where the record ends, the run goes on: the model had failed, or somebody had stopped it.
                    Assert.True(found.FirstDivergence is null or { What: "missing", Left: null }, $"{at}: {found.FirstDivergence}");
                    if (own[^1].Is<RunEvent.RunCompleted>())
                    {
                        Assert.True((found.FirstDivergence, found.Reply, found.Right.Status) == (null, null, "completed"), $"{at}: {found.FirstDivergence} {found.Right.Status}");
                    }
                    await Proved(runs.Harness, other, at, withBundle: made % 5 == 0);
                }
            }
            Assert.Equal((files, asked), (runs.Files, runs.AskedSource));
            Assert.DoesNotContain(
                (await engine.Feed(RunHarness.Org, null, before, int.MaxValue, default)).Entries, e => Effects.Any(of => e.Stream.StartsWith(of, StringComparison.Ordinal)));
        }
        Assert.True(made >= 100, $"{made}");
        Assert.Superset(wanted, sources);
    }

    [Theory]
    [InlineData(PolicyOutcome.Deny)]
    [InlineData(PolicyOutcome.Allow)]
    public async Task Another_policy_parts_from_the_record_at_the_first_call_that_it_judges_otherwise(PolicyOutcome outcome)
    {
        var parted = 0;
        foreach (var seed in Seeds.Many(ordinary: 4, chaos: 200))
        {
            using var runs = new RecordedRuns(seed);
            await runs.Make(5);
            runs.Settle();
            var files = runs.Files;
            var kinds = outcome == PolicyOutcome.Allow ? ["create", "overwrite", "delete", "move", "connector_write"] : (string[])["list", "remember", "execute", "connector_read"];
            var proposed = new Policy([new PolicyRule("proposed", outcome, "Proposed.") { Kinds = [.. kinds], InsideGrants = true }, .. Policy.BuiltIn.Rules]);
            foreach (var run in runs.Runs)
            {
                var own = (await runs.Harness.Engine.Load(RunHarness.Org, Run.Aggregate.Stream(run), 0, int.MaxValue, default)).Events;
                var first = (await runs.Harness.Engine.OfRun(RunHarness.Org, new(RecordedRuns.Session), run, default)).FirstOrDefault(e => e.Is<RunEvent.LlmResponse>());
                if (first is null || await Start(runs, run, new(first.FeedId, Policy: proposed, RejectsUnrecorded: true)) is not { } other)
                {
                    continue;
                }
                await runs.Host.Drive();
                var names = own.Select(e => e.Event).OfType<RunEvent.ToolCall>().ToDictionary(call => call.Id, call => call.Name);
                var judged = own.Select(e => e.Event).OfType<RunEvent.PolicyDecision>().FirstOrDefault(
                    decision => decision.Rule is not (CallPolicy.SkillTools or Policy.NotGranted)
                        && proposed.Evaluate(names[decision.ToolCallId], CallSubject.Of(decision.Subject!)).Rule != decision.Rule);
                var expected = judged is null ? null : own.Select(e => e.Event).OfType<RunEvent.ToolResult>().FirstOrDefault(result => result.Id == judged.ToolCallId)?.Step;
                var found = (await Compare(runs, run, other)).FirstDivergence;
                if (expected is null)
                {
                    Assert.True(found is null or { What: "missing", Left: null }, $"seed {seed}: {run.Id}: {found}");
                    continue;
                }
                parted++;
                Assert.True((found?.Step, found?.What) == (expected, "verdict") && found!.Right!.EndsWith("(proposed)", StringComparison.Ordinal), $"seed {seed}: {run.Id}: {found}, {expected}");
                await Proved(runs.Harness, other, $"seed {seed}", withBundle: true);
            }
            Assert.Equal(files, runs.Files);
        }
        Assert.True(parted >= 2, $"{parted}");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_host_that_dies_at_any_commit_of_a_counterfactual_leaves_one_that_another_ends(bool after)
    {
        List<string>? whole = null;
        for (var at = 0; ; at++)
        {
            var tool = new CountingTool();
            var bench = new RunHarness { Tools = [tool] };
            var host = bench.AddHost("n0");
            await host.OpenSession("s");
            var run = await host.Send("s", "go\nread_file {\"path\":\"a\"}\nread_file {\"path\":\"b\"}");
            await host.Drive();
            var from = (await bench.Engine.OfRun(RunHarness.Org, new("s"), run, default)).First(e => e.Is<RunEvent.LlmResponse>()).FeedId;
            var request = new CounterfactualRequest(
                from, Message: "and\nread_file {\"path\":\"a\"}\nread_file {\"path\":\"c\"}\nread_file {\"path\":\"d\"}", Allow: ["read_file"],
                Stubs: new Dictionary<string, string> { [NamedText.Digest(Content.Of("{\"path\":\"d\"}"))] = "given" });
            var (turn, refused) = await host.Counterfactuals.Start(RunHarness.Org, RunHarness.User, new("s"), run, request, "{}", null, default);
            Assert.Null(refused);
            bench.DieAt([(at, after)]);
            var (left, crashes) = await bench.Outlive(host, async living =>
            {
                living.Node.ClaimDue();
                await living.Drive();
                return living.Node.Ready > 0;
            });
            bench.Engine.FailPoint = null;
            var events = (await bench.Engine.Load(RunHarness.Org, Run.Aggregate.Stream(turn!.Run), 0, int.MaxValue, default)).Events.Select(e => e.Event).ToList();
            List<string> results = [.. events.OfType<RunEvent.ToolResult>().Select(result => $"{result.Source} {((Content.Inline)result.Content).Text}")];
            Assert.Equal(["recorded result of {\"path\":\"a\"}", "live result of {\"path\":\"c\"}", "stub given"], results);
            List<string> story = [.. events.Where(e => e is not RunEvent.RunResumed).Select(e => e.GetType().Name)];
            Assert.Equal(whole ??= story, story);
            Assert.Equal("RunCompleted", story[^1]);
            // The calls of the recorded run, and the one that was allowed: at each attempt under the same token.
            Assert.Equal(3, tool.Calls.Select(call => call.Token).Distinct().Count());
            Assert.Equal(ReplayReport.Equal, (await RunReplay.Of(new LoggedRun(bench.Engine, bench.Blobs, RunHarness.Org, turn.Run), default)).Verdict);
            Assert.Empty(bench.Engine.Jobs);
            if (crashes == 0)
            {
                Assert.True(at >= 4, $"{at}");
                return;
            }
        }
    }

    [Fact]
    public async Task Another_model_is_asked_anew_within_its_own_budget_and_leaves_neither_notes_nor_a_turn()
    {
        var other = new PricedModel();
        var bench = new RunHarness { Models = { ["priced"] = other } };
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        var run = await host.Send("s", "go\nread_file {\"path\":\"a\"}");
        await host.Drive();
        var from = (await bench.Engine.OfRun(RunHarness.Org, new("s"), run, default)).First(e => e.Is<RunEvent.LlmResponse>()).FeedId;
        var history = await host.Queries.Earlier(RunHarness.Org, new("s"), 10, default);
        var memories = (await bench.Engine.Feed(RunHarness.Org, null, 0, int.MaxValue, default)).Entries.Count(e => e.Is<MemoryEvent.MemoryWritten>());
        foreach (var (budget, status) in ((long?, string)[])[(null, "completed"), (0L, "failed")])
        {
            var (turn, _) = await host.Counterfactuals.Start(
                RunHarness.Org, RunHarness.User, new("s"), run, new(from, Model: "priced", BudgetMicroUsd: budget), "{}", null, default);
            await host.Drive();
            var ended = Assert.IsType<Run.Ended>(await host.Commands.State(RunHarness.Org, Run.Aggregate, turn!.Run, default));
            Assert.Equal(status, ended.Status);
            var own = (await bench.Engine.Load(RunHarness.Org, Run.Aggregate.Stream(turn.Run), 0, int.MaxValue, default)).Events.Select(e => e.Event).ToList();
            Assert.Equal(status == "completed" ? null : "budget_exceeded", own.OfType<RunEvent.RunFailed>().SingleOrDefault()?.Error.Code);
            Assert.All(own.OfType<RunEvent.LlmResponse>(), answer => Assert.Null(answer.Source));
        }
        Assert.Equal(history, await host.Queries.Earlier(RunHarness.Org, new("s"), 10, default));
        var log = (await bench.Engine.Feed(RunHarness.Org, null, 0, int.MaxValue, default)).Entries;
        Assert.Equal(memories, log.Count(e => e.Is<MemoryEvent.MemoryWritten>()));
        Assert.Contains(log, e => e.Is<BudgetEvent.BudgetSettled>());
    }

    [Fact]
    public async Task No_tool_of_the_host_is_called_unless_it_is_allowed()
    {
        foreach (var allowed in (string?[])[null, .. Toolbox.HostNames])
        {
            var called = new List<string>();
            var bench = new RunHarness { Tools = [.. Toolbox.HostNames.Select(name => new Trap(name, called))], Policy = new([new PolicyRule("all", PolicyOutcome.Allow, "All.")]) };
            var host = bench.AddHost("n0");
            await host.OpenSession("s");
            var run = await host.Send("s", "go");
            await host.Drive();
            var from = (await bench.Engine.OfRun(RunHarness.Org, new("s"), run, default)).First(e => e.Is<RunEvent.LlmResponse>()).FeedId;
            var message = $"and{string.Concat(Toolbox.HostNames.Select(name => $"\n{name} {{}}"))}";
            var (turn, _) = await host.Counterfactuals.Start(
                RunHarness.Org, RunHarness.User, new("s"), run, new(from, Message: message, Allow: allowed is null ? null : [allowed]), "{}", null, default);
            await host.Drive();
            Assert.Equal(allowed is null ? [] : [allowed], called);
            var results = (await bench.Engine.Load(RunHarness.Org, Run.Aggregate.Stream(turn!.Run), 0, int.MaxValue, default)).Events.Select(e => e.Event).OfType<RunEvent.ToolResult>();
            Assert.Equal(
                Toolbox.HostNames.Select(name => $"{name} {(name == allowed ? "live" : "stub")}").Order(StringComparer.Ordinal),
                results.Select(result => $"{result.Name} {result.Source}").Order(StringComparer.Ordinal));
        }
    }

    [Fact]
    public async Task The_common_past_has_what_it_cost_wrote_and_kept_in_the_log_and_in_the_bundle()
    {
        using var work = new Workspace();
        var bench = Keeping(work);
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        string[] calls = [Write("a"), """remember {"content":"tea"}""", Write("b"), """remember {"content":"milk"}"""];
        var run = await host.Send("s", $"go\n{string.Join('\n', calls)}");
        await host.Drive();
        var results = (await bench.Engine.OfRun(RunHarness.Org, new("s"), run, default)).Where(e => e.Is<RunEvent.ToolResult>()).ToList();
        // Behind the first two calls.
        var (turn, _) = await host.Counterfactuals.Start(RunHarness.Org, RunHarness.User, new("s"), run, new(results[2].FeedId, Message: "and"), "{}", null, default);
        await host.Drive();

        var logged = new LoggedRun(bench.Engine, bench.Blobs, RunHarness.Org, turn!.Run);
        var bundle = (await TraceBundle.Build(bench.Engine, bench.Blobs, RunHarness.Org, await SessionOf(bench.Engine, turn.Run), turn.Run, default))!;
        Assert.Null(TraceVerifier.Verify(bundle).Fault);
        foreach (var record in (IRunRecord[])[logged, BundledRun.Read(bundle, default).Run!])
        {
            var report = await RunReplay.Of(record, default);
            Assert.True(report is { Verdict: ReplayReport.Equal, Unproved.Count: 0 }, $"{report.Divergence}");
            Assert.Equal((3, 2, 0.000_026m), (report.Past!.InputTokens, report.Past.OutputTokens, report.Past.CostUsd));
            Assert.Equal([".anton/output/a"], report.Past.Artifacts.Select(artifact => artifact.Path));
            Assert.Equal([NamedText.Digest(Content.Of("tea"))], report.Past.Memories.Select(memory => memory.Sha256));
            Assert.Empty(report.Made.Artifacts.Select(artifact => artifact.Path).Concat(report.Made.Memories.Select(memory => memory.Kind)));
            // What the other run did behind the past, this one did not.
            var diff = await RunDiff.Of(new LoggedRun(bench.Engine, bench.Blobs, RunHarness.Org, run), record, default);
            Assert.Equal([(".anton/output/b", null)], diff.Artifacts.Select(artifact => (artifact.Path, artifact.RightSha256)));
            Assert.Equal([("memory", 2, null)], diff.Memories.Select(memory => (memory.Kind, memory.Number, memory.RightSha256)));
        }

        foreach (var (edit, type) in ((string, string)[])[("sha256", "artifact_discovered"), ("text", "memory_written")])
        {
            var root = JsonNode.Parse(bundle)!.AsObject();
            root["related"]!.AsArray().First(e => ((string)e!["type"]!).StartsWith(type, StringComparison.Ordinal))!["data"]![edit] = new string('0', 64);
            var changed = await RunReplay.Of(BundledRun.Read(TamperedBundles.Sealed(root), default).Run!, default);
            Assert.Equal((type, edit == "text" ? "memory" : "artifact"), (changed.Divergence?.Type, changed.Divergence?.What));
        }
        // Bundles of before have nothing of it.
        var before = JsonNode.Parse(bundle)!.AsObject();
        Assert.Equal(2, before["related"]!.AsArray().RemoveAll(e => (string?)e!["type"] is "artifact_discovered.v1" or "memory_written.v1"));
        var older = TamperedBundles.Sealed(before);
        Assert.Null(TraceVerifier.Verify(older).Fault);
        var told = await RunReplay.Of(BundledRun.Read(older, default).Run!, default);
        Assert.Equal((ReplayReport.Equal, "past_effects", 2), (told.Verdict, told.Unproved.Single().Part, told.Unproved[0].Count));

        static string Write(string name) => $"write_file {{\"path\":\".anton/output/{name}\",\"content\":\"of {name}\"}}";
    }

    [Theory]
    [InlineData("artifact_discovered.v1", "run_id")]
    [InlineData("artifact_discovered.v1", "path")]
    [InlineData("memory_written.v1", "run_id")]
    [InlineData("memory_written.v1", "session_id")]
    public async Task A_bundle_has_nothing_of_another_run_but_what_its_common_past_left(string type, string member)
    {
        using var work = new Workspace();
        var bench = Keeping(work);
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        var run = await host.Send("s", "go\nwrite_file {\"path\":\".anton/output/a\",\"content\":\"a\"}\nremember {\"content\":\"tea\"}");
        await host.Drive();
        var from = (await bench.Engine.OfRun(RunHarness.Org, new("s"), run, default)).Last(e => e.Is<RunEvent.LlmResponse>()).FeedId;
        var (turn, _) = await host.Counterfactuals.Start(RunHarness.Org, RunHarness.User, new("s"), run, new(from), "{}", null, default);
        await host.Drive();
        var root = JsonNode.Parse((await TraceBundle.Build(bench.Engine, bench.Blobs, RunHarness.Org, await SessionOf(bench.Engine, turn!.Run), turn.Run, default))!)!.AsObject();
        var changed = root["related"]!.AsArray().First(e => (string?)e!["type"] == type)!.AsObject();
        var was = (string)changed["data"]![member]!;
        changed["data"]![member] = $"{was[..^1]}{(was[^1] == '7' ? '6' : '7')}";
        TamperedBundles.Rehash(changed);
        var fault = TraceVerifier.Verify(TamperedBundles.Sealed(root)).Fault;
        Assert.Equal($"$.related[{root["related"]!.AsArray().IndexOf(changed)}]", fault?.Location);
    }

    /// <summary>A bench whose model has a price, and whose runs write and remember.</summary>
    static RunHarness Keeping(Workspace work)
    {
        var blobs = new InMemoryBlobs();
        return new()
        {
            Blobs = blobs,
            Workspace = work.Root,
            Model = new() { Price = new(2, 10) },
            ToolsOf = host => [new Remember(new MemoryBook(host.Commands, host.Queries, blobs)), new WriteFile(Policy.BuiltIn, blobs, Workspace.NoUploads)],
        };
    }

    [Fact]
    public async Task Another_version_of_a_skill_is_active_from_there_on_and_what_it_allows_is_judged_by_it()
    {
        var bench = new RunHarness();
        var host = bench.AddHost("n0");
        var reader = new SkillKey("01k9sk1110000000000000000b");
        await host.OpenSession("s");
        await Do(host, new CreateSkill(reader, new("reader", "d", "{}", null, [], Content.Of("List first."), ["list_files"])));
        var run = (await host.Turns.Submit(
            RunHarness.Org, RunHarness.User, new(new("s"), "go\nread_file {\"path\":\"a\"}", null, null, null, Skills: new([reader], null)), default)).Turn!.Run;
        await host.Drive();
        Assert.Empty(bench.Tool.Calls);
        await Do(host, new AddSkillVersion(reader, new(Instructions: Optional<Content>.Of(Content.Of("Read first.")), Tools: ["read_file"])));
        var feed = await bench.Engine.OfRun(RunHarness.Org, new("s"), run, default);
        foreach (var from in (long[])[feed.First(e => e.Is<RunEvent.LlmResponse>()).FeedId, feed.First(e => e.Is<RunEvent.PolicyDecision>()).FeedId])
        {
            var request = new CounterfactualRequest(from, SkillVersions: new Dictionary<SkillKey, int> { [reader] = 2 }, Allow: ["read_file"]);
            var (turn, refused) = await host.Counterfactuals.Start(RunHarness.Org, RunHarness.User, new("s"), run, request, "{}", null, default);
            Assert.Null(refused);
            await host.Drive();
            var own = (await bench.Engine.Load(RunHarness.Org, Run.Aggregate.Stream(turn!.Run), 0, int.MaxValue, default)).Events.Select(e => e.Event).ToList();
            var created = own.OfType<RunEvent.RunCreated>().Single();
            Assert.Equal(("reader", 2, "skills"), (created.Skills!.Single().Name, created.Skills![0].Version, created.Counterfactual!.Changed.Single()));
            // Every request has other instructions than the recorded ones.
            Assert.All(own.OfType<RunEvent.LlmResponse>(), answer => Assert.Null(answer.Source));
            Assert.Equal((PolicyOutcome.Allow, "live"), (own.OfType<RunEvent.PolicyDecision>().Single().Outcome, own.OfType<RunEvent.ToolResult>().Single().Source));
            Assert.IsType<RunEvent.RunCompleted>(own[^1]);
            await Proved(bench, turn.Run, $"from {from}", withBundle: true);
        }
        Assert.Equal(2, bench.Tool.Calls.Count);
    }

    [Fact]
    public async Task One_that_is_cancelled_while_it_waits_or_is_asked_ends_and_is_proved_like_any_run()
    {
        foreach (var waits in (bool[])[true, false])
        {
            var bench = new RunHarness();
            var host = bench.AddHost("n0");
            await host.OpenSession("s");
            var run = await host.Send("s", "go\nread_file {\"path\":\"a\"}");
            await host.Drive();
            var from = (await bench.Engine.OfRun(RunHarness.Org, new("s"), run, default)).First(e => e.Is<RunEvent.LlmResponse>()).FeedId;
            var confirm = new Policy([new PolicyRule("ask", PolicyOutcome.Confirm, "Ask.")]);
            var (turn, _) = await host.Counterfactuals.Start(
                RunHarness.Org, RunHarness.User, new("s"), run, waits ? new(from, Policy: confirm) : new(from, Message: "and"), "{}", null, default);
            Assert.NotNull(turn);
            if (waits)
            {
                await host.Drive();
                Assert.IsType<Run.Suspended>(await host.Commands.State(RunHarness.Org, Run.Aggregate, turn.Run, default));
                await Do(host, new CancelRun(turn.Run, null));
            }
            else
            {
                bench.Model.Before = _ => Do(host, new CancelRun(turn.Run, null));
            }
            await host.Drive();
            Assert.Equal("cancelled", Assert.IsType<Run.Ended>(await host.Commands.State(RunHarness.Org, Run.Aggregate, turn.Run, default)).Status);
            Assert.Single(bench.Tool.Calls);
            await Proved(bench, turn.Run, $"{waits}", withBundle: true);
        }
    }

    static async Task Do(RunHarness.Host host, ICommand command) =>
        Assert.Null((await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, command, default)).Refused);

    /// <summary>A tool that tells when it is called.</summary>
    sealed class Trap(string name, List<string> called) : ITool
    {
        public string Name => name;

        public string Description => "Tells.";

        public System.Text.Json.JsonElement Schema { get; } = System.Text.Json.JsonElement.Parse("""{"type":"object"}""");

        public ValueTask<CallSubject> Subject(ToolContext context, System.Text.Json.JsonElement input, CancellationToken ct) => new(new CallSubject("execute"));

        public Task<ToolOutcome> Run(ToolContext context, System.Text.Json.JsonElement input, CancellationToken ct)
        {
            called.Add(name);
            return Task.FromResult(ToolOutcome.Ok("Called."));
        }
    }

    static async Task<RunKey?> Start(RecordedRuns runs, RunKey run, CounterfactualRequest request)
    {
        var (turn, refused) = await runs.Host.Counterfactuals.Start(RunHarness.Org, RunHarness.User, new(RecordedRuns.Session), run, request, "{}", null, default);
        Assert.True(refused is null or { Code: "invalid_request", Path: "$.from_event" }, $"{refused}");
        return turn?.Run;
    }

    static async Task<RunDifference> Compare(RecordedRuns runs, RunKey left, RunKey right)
    {
        var harness = runs.Harness;
        return await RunDiff.Of(new LoggedRun(harness.Engine, harness.Blobs, RunHarness.Org, left), new LoggedRun(harness.Engine, harness.Blobs, RunHarness.Org, right), default);
    }

    static async Task<SessionKey> SessionOf(InMemoryEngine engine, RunKey run) =>
        ((RunEvent.RunCreated)(await engine.Load(RunHarness.Org, Run.Aggregate.Stream(run), 0, 1, default)).Events[0].Event).SessionId;

    /// <summary>What the events of a run say of where it is from.</summary>
    static async Task<IEnumerable<string>> Sources(InMemoryEngine engine, RunKey run) =>
        (await engine.Load(RunHarness.Org, Run.Aggregate.Stream(run), 0, int.MaxValue, default)).Events.Select(e => e.Event switch
        {
            RunEvent.ToolResult { Source: { } source } => $"tool_result {source}",
            RunEvent.LlmResponse { Source: { } source } => $"llm_response {source}",
            RunEvent.FeedbackReceived { Source: { } source } => $"feedback_received {source}",
            RunEvent.ApprovalServed => "approval_served",
            _ => "",
        });

    /// <summary>The run replays from the log and from its bundle, and the bundle is sound.</summary>
    static async Task Proved(RunHarness harness, RunKey run, string at, bool withBundle)
    {
        var records = new List<IRunRecord> { new LoggedRun(harness.Engine, harness.Blobs, RunHarness.Org, run) };
        if (withBundle)
        {
            var session = await SessionOf(harness.Engine, run);
            var bundle = (await TraceBundle.Build(harness.Engine, harness.Blobs, RunHarness.Org, session, run, default))!;
            var fault = TraceVerifier.Verify(bundle).Fault;
            Assert.True(fault is null, $"{at}: {fault}");
            var whole = await BundleLinesSpecs.Written(output => SessionBundle.Write(harness.Engine, harness.Blobs, null, RunHarness.Org, session, output, default));
            fault = (await BundleLinesSpecs.Verify(whole)).Fault;
            Assert.True(fault is null, $"{at}: {fault}");
            records.Add(BundledRun.Read(bundle, default).Run!);
        }
        foreach (var record in records)
        {
            var report = await RunReplay.Of(record, default);
            Assert.True(report is { Verdict: ReplayReport.Equal, Unproved.Count: 0 }, $"{at}: {record.GetType().Name}: {report.Divergence} {string.Join(", ", report.Unproved)}");
        }
    }
}
