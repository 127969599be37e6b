using System.Collections.Immutable;
using System.Text.Json;
using System.Threading.Channels;

using Cowork.Domain;
using Cowork.Testing;

using Xunit;

using static Cowork.Domain.ScratchpadEvent;

namespace Cowork.Application.Tests;

/// <summary>Scratchpads that are held: executions in order, their outputs, and what becomes of them when hosts die.</summary>
public sealed class ScratchpadSpecs : IDisposable
{
    static readonly SessionKey Session = new("s");
    static readonly ScratchpadKey Pad = new("01kdvkjr000000000000000010");
    static readonly CellKey[] Cells = [new("01kdvkjr000000000000000011"), new("01kdvkjr000000000000000012"), new("01kdvkjr000000000000000013")];

    readonly Workspace work = new();
    readonly RunHarness harness;
    readonly ScriptedKernels kernels;
    readonly Channel<string> begun = Channel.CreateUnbounded<string>();

    public ScratchpadSpecs()
    {
        kernels = new(Execute);
        harness = new()
        {
            Workspace = work.Root,
            Kernels = kernels,
            ToolsOf = host => [new UseScratchpad(host.Commands, new(host.Commands, host.Commands, harness!.Blobs), host.Commands, host.Scratchpads, kernels, host.Hub, harness.Blobs, harness.Clock)],
            Models = { ["offline"] = new OfflineModel(Tests.Workspace.Files(), new TestClock()) },
        };
    }

    public void Dispose() => work.Dispose();

    /// <summary>
    /// The cells' language: <c>x=1</c> sets a variable, <c>x</c> prints it, <c>wait</c> waits for its interruption, <c>raise</c> fails, <c>file NAME</c> writes below the output
    /// root, <c>show ID TEXT</c> displays, <c>update ID TEXT</c> displays that instead, <c>die</c> is the kernel's end.
    /// </summary>
    async IAsyncEnumerable<KernelMessage> Execute(
        string code, Dictionary<string, string> variables, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken interrupt)
    {
        await begun.Writer.WriteAsync(code, CancellationToken.None);
        switch (code.Split(' ', '='))
        {
            case ["wait"]:
                yield return new KernelMessage.Stream("stdout", "waiting\n");
                await Task.Delay(Timeout.InfiniteTimeSpan, interrupt);
                break;
            case ["show", var id, var text]:
                yield return new KernelMessage.Display(false, Plain(text), Plain(null), id);
                break;
            case ["update", var id, var text]:
                yield return new KernelMessage.UpdateDisplay(Plain($"not {text}"), Plain(null), id);
                yield return new KernelMessage.UpdateDisplay(Plain(text), Plain(null), id);
                break;
            case ["raise"]:
                yield return new KernelMessage.Error("ValueError", "no", ["Traceback"]);
                break;
            case ["die"]:
                await kernels.Started[^1].Die();
                break;
            case ["file", var name]:
                var file = Path.Combine(work.Root, OutputRoot.Path, name);
                Directory.CreateDirectory(Path.GetDirectoryName(file)!);
                await File.WriteAllTextAsync(file, "# Report", CancellationToken.None);
                break;
            case [var variable, var value]:
                variables[variable] = value;
                break;
            case [var variable]:
                yield return new KernelMessage.Stream("stdout", variables.GetValueOrDefault(variable, "nothing"));
                break;
        }
    }

    /// <summary>A MIME bundle; of null an empty one.</summary>
    static JsonElement Plain(string? text) => JsonSerializer.SerializeToElement(text is null ? [] : new Dictionary<string, string> { ["text/plain"] = text });

    async Task<string?> Do(RunHarness.Host host, ICommand command) =>
        (await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, command, default)).Refused?.Code;

    /// <summary>A host with a scratchpad of these cells.</summary>
    async Task<RunHarness.Host> NewHost(params string[] code)
    {
        var host = harness.AddHost("a");
        Assert.Null(await Do(host, new OpenSession(Session, work.Root, "{}", null)));
        var cells = code.Select((text, i) => new NewCell(Cells[i], CellTypes.Code, Content.Of(text), "python")).ToImmutableList();
        Assert.Null(await Do(host, new CreateScratchpad(Pad, Session, Content.Of("Draft"), cells)));
        return host;
    }

    async Task Queue(RunHarness.Host host, params int[] cells)
    {
        foreach (var cell in cells)
        {
            Assert.Null(await Do(host, new RunCell(Pad, Cells[cell])));
        }
    }

    async Task<Scratchpad> State(RunHarness.Host host) => await host.Commands.LatestState(RunHarness.Org, Scratchpad.Aggregate, Pad, default);

    /// <summary>What became of a cell: its texts, or why it failed.</summary>
    async Task<string> Shown(RunHarness.Host host, int cell)
    {
        var result = ((Scratchpad.Live)await State(host)).Cells[cell].Result;
        return result is null ? "-" : result.Error is { } error ? error.Code
            : string.Concat((await harness.Blobs.Outputs(result.Outputs, default)).OfType<NotebookOutput.Stream>().Select(s => s.Text));
    }

    Task<List<string>> Story() => harness.Story(Scratchpad.Aggregate.Stream(Pad));

    /// <summary>A host works while the steps are done.</summary>
    static async Task While(RunHarness.Host host, Func<Task> steps)
    {
        using var stopping = new CancellationTokenSource();
        var working = host.Work(stopping.Token);
        await steps();
        await stopping.CancelAsync();
        await working;
    }

    [Fact]
    public async Task Cells_are_executed_in_order_by_one_kernel_that_keeps_its_variables_and_ends_when_it_is_idle()
    {
        var host = await NewHost("x=1", "x", "raise");
        await While(host, async () =>
        {
            await Queue(host, 0, 1, 2);
            await Patience.Until(async () => await Shown(host, 2) == "exception");
            Assert.Equal(("", "1"), (await Shown(host, 0), await Shown(host, 1)));
            // The kernel is used again as long as it is there.
            await Queue(host, 1);
            await Patience.Until(async () => (await Story()).Count(e => e == "cell_completed") == 4);
            Assert.Single(kernels.Started);
            await Patience.Until(async () =>
            {
                harness.Clock.Advance(TimeSpan.FromMinutes(1));
                return (await Story())[^1] == "kernel_stopped";
            });
            await Patience.Until(() => kernels.Started[0].Ended.IsCompleted && harness.Engine.Jobs.Count == 0);
            // The next one gets another kernel.
            await Queue(host, 1);
            await Patience.Until(async () => await Shown(host, 1) == "nothing");
            Assert.Equal(2, kernels.Started.Count);
        });
        var result = ((Scratchpad.Live)await State(host)).Cells[1].Result!;
        Assert.Equal(("python3", "3.11.2", "numpy==1.24.2"), (result.Environment!.Kernel, result.Environment.Version, result.Environment.Packages.Single()));
        Assert.Equal("ValueError: no", ((Scratchpad.Live)await State(host)).Cells[2].Result!.Error!.Message);
    }

    [Fact]
    public async Task A_cell_that_another_host_queues_is_executed_by_the_holder()
    {
        var host = await NewHost("x=1", "x");
        var other = harness.AddHost("b", ScratchpadHolder.JobKind);
        await While(host, async () =>
        {
            await Queue(host, 0);
            await Patience.Until(async () => await Shown(host, 0) == "");
            await Queue(other, 1);
            await Patience.Until(async () =>
            {
                harness.Clock.Advance(TimeSpan.FromMilliseconds(100));
                return await Shown(other, 1) == "1";
            });
        });
    }

    [Fact]
    public async Task A_cell_is_interrupted_from_any_host_and_the_others_go_on()
    {
        var host = await NewHost("x=1", "wait", "x");
        var other = harness.AddHost("b", ScratchpadHolder.JobKind);
        await While(host, async () =>
        {
            await Queue(host, 0, 1, 2);
            await Patience.Until(async () => ((Scratchpad.Live)await State(host)).IsRunning(Cells[1]) && (await Story()).Contains("cell_output"));
            Assert.Equal("cell_running", await Do(host, new ChangeCell(Pad, Cells[1], Content.Of("y"), null)));
            Assert.Null(await Do(other, new InterruptCell(Pad, Cells[1])));
            await Patience.Until(async () =>
            {
                harness.Clock.Advance(TimeSpan.FromMilliseconds(100));
                return await Shown(host, 2) == "1";
            });
            Assert.Equal("interrupted", await Shown(host, 1));
        });
    }

    [Fact]
    public async Task A_restart_ends_what_is_executed_and_what_waits_and_loses_the_variables()
    {
        var host = await NewHost("x=1", "wait", "x");
        await While(host, async () =>
        {
            await Queue(host, 0, 1, 2);
            // The host works meanwhile: what is queued last may be in the log behind it.
            await Patience.Until(async () => (await Story()).Contains("cell_output"));
            Assert.Null(await Do(host, new RestartKernel(Pad)));
            await Patience.Until(async () => (await Story()).Contains("kernel_restarted"));
            Assert.Equal(("kernel_restarted", "-"), (await Shown(host, 1), await Shown(host, 2)));
            await Queue(host, 2);
            await Patience.Until(async () => await Shown(host, 2) == "nothing");
            Assert.Single(kernels.Started);
        });
    }

    /// <summary>What the executions that began said of the variables before them, in order.</summary>
    async Task<List<bool>> Losses() =>
        [.. (await harness.Engine.Feed(RunHarness.Org, Session, 0, 10_000, default)).Entries.Where(e => e.Is<CellStarted>())
            .Select(e => ((CellStarted)EventTypesRead(e)).IsStateLost == true)];

    [Fact]
    public async Task A_loss_while_nothing_is_executed_is_in_the_log_at_once_and_the_next_execution_says_that_the_variables_are_gone()
    {
        var host = await NewHost("x=1", "x");
        await While(host, async () =>
        {
            await Queue(host, 0, 1);
            await Patience.Until(async () => await Shown(host, 1) == "1");
            kernels.Started[0].Lose("It was killed.");
            await Patience.Until(async () => (await Story())[^1] == "kernel_lost");
            await Queue(host, 1, 1);
            await Patience.Until(async () => (await Story()).Count(e => e == "cell_completed") == 4);
            Assert.Equal("nothing", await Shown(host, 1));
            Assert.Equal([false, false, true, false], await Losses());
            Assert.Null(await Do(host, new RestartKernel(Pad)));
            await Patience.Until(async () => (await Story())[^1] == "kernel_restarted");
            await Queue(host, 1);
            await Patience.Until(async () => (await Story()).Count(e => e == "cell_completed") == 5);
            await Patience.Until(async () =>
            {
                harness.Clock.Advance(TimeSpan.FromMinutes(1));
                return (await Story())[^1] == "kernel_stopped";
            });
            await Queue(host, 1);
            await Patience.Until(async () => (await Story()).Count(e => e == "cell_completed") == 6);
            Assert.Equal([false, false, true, false, true, true], await Losses());
        });
    }

    [Fact]
    public async Task A_cell_updates_what_earlier_cells_display_and_its_own()
    {
        var host = await NewHost("show a one", "show b two", "update a three");
        async Task<string[]> Displayed() =>
        [
            .. await Task.WhenAll(((Scratchpad.Live)await State(host)).Cells.Select(async cell =>
                string.Concat((await harness.Blobs.Outputs(cell.Result?.Outputs, default)).OfType<NotebookOutput.Display>().SelectMany(d => d.Data).Select(form => form.Data)))),
        ];
        await While(host, async () =>
        {
            await Queue(host, 0, 1, 2);
            await Patience.Until(async () => (await Story()).Count(e => e == "cell_completed") == 3);
            Assert.Equal(["three", "two", ""], await Displayed());
            // Twice the same is no change.
            await Queue(host, 2);
            await Patience.Until(async () => (await Story()).Count(e => e == "cell_completed") == 4);
            Assert.Equal(1, (await Story()).Count(e => e == "cell_displays_updated"));
            // A cell that was edited displays nothing.
            Assert.Null(await Do(host, new ChangeCell(Pad, Cells[0], Content.Of("x"), null)));
            await Queue(host, 2);
            await Patience.Until(async () => (await Story()).Count(e => e == "cell_completed") == 5);
            Assert.Equal(["", "two", ""], await Displayed());
        });
    }

    [Fact]
    public async Task A_kernel_that_dies_fails_its_cell_and_the_next_gets_another_kernel()
    {
        var host = await NewHost("x=1", "die", "x");
        await While(host, async () =>
        {
            await Queue(host, 0, 1, 2);
            await Patience.Until(async () => await Shown(host, 2) == "nothing");
            Assert.Equal("kernel_died", await Shown(host, 1));
            Assert.Equal(2, kernels.Started.Count);
            Assert.Contains("kernel_lost", await Story());
            // One that dies while nothing is executed is said to be lost, too.
            await kernels.Started[1].Die();
            await Patience.Until(async () => (await Story())[^1] == "kernel_lost");
            await Patience.Until(() => harness.Engine.Jobs.Count == 0);
        });
    }

    [Fact]
    public async Task Deleting_the_scratchpad_the_cell_or_the_conversation_ends_what_is_executed()
    {
        var host = await NewHost("wait", "x");
        await While(host, async () =>
        {
            await Queue(host, 0);
            await Patience.Until(async () => (await Story())[^1] == "cell_output");
            Assert.Null(await Do(host, new DeleteCell(Pad, Cells[0])));
            await Queue(host, 1);
            await Patience.Until(async () => ((Scratchpad.Live)await State(host)).Cells.Single().Result is not null);
            Assert.Single(kernels.Started);
            Assert.Null(await Do(host, new DeleteSession(Session)));
            await Patience.Until(async () => await State(host) is Scratchpad.Deleted);
            await Patience.Until(() => kernels.Started[0].Ended.IsCompleted && harness.Engine.Jobs.Count == 0);
        });
    }

    [Fact]
    public async Task Where_no_kernel_starts_each_cell_says_why()
    {
        var host = await NewHost("x", "x");
        kernels.Missing = "Install bubblewrap.";
        await While(host, async () =>
        {
            await Queue(host, 0, 1);
            await Patience.Until(async () => await Shown(host, 1) == "kernel_unavailable");
            Assert.Equal("Install bubblewrap.", ((Scratchpad.Live)await State(host)).Cells[0].Result!.Error!.Message);
            await Patience.Until(() => harness.Engine.Jobs.Count == 0);
        });
    }

    [Fact]
    public async Task What_a_cell_writes_below_the_output_root_is_an_artifact()
    {
        var host = await NewHost("file report.md", "file ../hidden.md");
        await While(host, async () =>
        {
            await Queue(host, 0, 1);
            await Patience.Until(async () => await Shown(host, 1) != "-");
        });
        var artifact = Artifact.KeyOf(Session, $"{OutputRoot.Path}/report.md");
        Assert.Equal(["artifact_discovered"], await harness.Story(Artifact.Aggregate.Stream(artifact)));
        Assert.Equal(["report.md"], ((Scratchpad.Live)await State(host)).Cells[0].Result!.Files!.Select(f => Path.GetFileName(f.Path)));
        Assert.Null(((Scratchpad.Live)await State(host)).Cells[1].Result!.Files);
    }

    [Fact]
    public async Task A_replay_executes_the_code_cells_in_a_kernel_of_its_own_and_ends_it()
    {
        var host = await NewHost("x=1", "x");
        var replay = new ScratchpadKey("01kdvkjr000000000000000020");
        await While(host, async () =>
        {
            await Queue(host, 1, 0, 1);
            await Patience.Until(async () => await Shown(host, 1) == "1");
            Assert.Null(await Do(host, new ReplayScratchpad(Pad, replay)));
            await Patience.Until(async () => (await harness.Story(Scratchpad.Aggregate.Stream(replay)))[^1] == "kernel_stopped");
        });
        Assert.Equal(2, kernels.Started.Count);
        var state = (Scratchpad.Live)await host.Commands.LatestState(RunHarness.Org, Scratchpad.Aggregate, replay, default);
        Assert.Equal(Pad, state.ReplayOf);
        Assert.All(state.Cells, cell => Assert.Equal(cell.Expected!.Outputs, cell.Result!.Outputs));
        Assert.Equal([Pad], await host.Scratchpads.Of(RunHarness.Org, Session, 10, default));
        Assert.Equal([replay], await host.Scratchpads.Replays(RunHarness.Org, Session, Pad, 10, default));
    }

    /// <summary>A host that dies at any commit, before or after it, leaves the rest to another one: each execution ends once.</summary>
    [Fact]
    public async Task A_host_that_dies_anywhere_loses_no_execution()
    {
        var whole = await Crashing(int.MaxValue, after: false);
        Assert.True(whole.Commits > 5);
        for (var at = 0; at < whole.Commits; at++)
        {
            foreach (var after in (bool[])[false, true])
            {
                var (story, shown, _) = await Crashing(at, after);
                Assert.Equal(["", "1|nothing"], (string[])[shown[0], shown[1] is "1" or "nothing" ? "1|nothing" : shown[1]]);
                Assert.Equal(2, story.Count(e => e == "cell_completed"));
                Assert.InRange(story.Count(e => e == "cell_started"), 2, 3);
                Assert.InRange(story.Count(e => e == "kernel_started"), 1, 1 + story.Count(e => e == "kernel_lost"));
            }
        }
    }

    /// <summary>Two cells are executed by a host that dies at one commit, and by the next one.</summary>
    static async Task<(List<string> Story, string[] Shown, int Commits)> Crashing(int at, bool after)
    {
        using var specs = new ScratchpadSpecs();
        var host = await specs.NewHost("x=1", "x");
        await specs.Queue(host, 0, 1);
        var commits = 0;
        specs.harness.Engine.FailPoint = (_, isAfter) =>
        {
            var now = isAfter ? commits++ : commits;
            if (now == at && isAfter == after)
            {
                commits++;
                throw new HostDiedException();
            }
        };
        await specs.DriveUntilIdle(host);
        if (at != int.MaxValue)
        {
            host.Node.Die();
            specs.harness.Engine.FailPoint = null;
            specs.harness.Clock.Advance(TimeSpan.FromMinutes(1));
            host = specs.harness.AddHost("b");
            await specs.DriveUntilIdle(host);
        }
        return (await specs.Story(), [await specs.Shown(host, 0), await specs.Shown(host, 1)], commits);
    }

    /// <summary>Does what is due; the idle kernel's time passes.</summary>
    async Task DriveUntilIdle(RunHarness.Host host)
    {
        // The host that died may have done all, and said so with its last commit.
        if (harness.Engine.Jobs.Count == 0)
        {
            return;
        }
        host.Node.ClaimDue();
        var driving = host.DriveOne();
        try
        {
            while (!driving.IsCompleted)
            {
                harness.Clock.Advance(TimeSpan.FromMinutes(1));
                await Task.WhenAny(driving, Task.Delay(2));
            }
            await driving;
        }
        catch (HostDiedException)
        {
            // That is what the spec is about.
        }
    }

    [Fact]
    public async Task An_interrupted_cell_is_not_executed_again_by_the_next_host()
    {
        var host = await NewHost("wait", "x");
        using (var dying = new CancellationTokenSource())
        {
            var working = host.Work(dying.Token);
            await Queue(host, 0, 1);
            await Patience.Until(async () => (await Story()).Contains("cell_output"));
            await dying.CancelAsync();
            await working;
        }
        var other = harness.AddHost("b");
        Assert.Null(await Do(other, new InterruptCell(Pad, Cells[0])));
        await While(other, async () => await Patience.Until(async () => await Shown(other, 1) == "nothing"));
        Assert.Equal("interrupted", await Shown(other, 0));
        Assert.Equal(1, (await Story()).Count(e => e == "kernel_lost"));
    }

    [Fact]
    public async Task Many_scratchpads_get_on_with_few_kernels()
    {
        var few = new RunHarness { Workspace = work.Root, Kernels = kernels };
        few.Engine.Parallel = 6;
        var host = few.AddHost("a");
        await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, new OpenSession(Session, work.Root, "{}", null), default);
        var pads = Enumerable.Range(0, 20).Select(i => new ScratchpadKey($"01kdvkjr0000000000000001{i:00}")).ToList();
        await While(host, async () =>
        {
            foreach (var pad in pads)
            {
                Assert.Null(await Do(host, new CreateScratchpad(pad, Session, Content.Of("Draft"), [new(Cells[0], CellTypes.Code, Content.Of("x"), "python")])));
                Assert.Null(await Do(host, new RunCell(pad, Cells[0])));
            }
            foreach (var pad in pads)
            {
                await Patience.Until(async () =>
                {
                    few.Clock.Advance(TimeSpan.FromMilliseconds(250));
                    host.Node.ClaimDue();
                    return ((Scratchpad.Live)await host.Commands.LatestState(RunHarness.Org, Scratchpad.Aggregate, pad, default)).Cells[0].Result is not null;
                });
            }
        });
        var reasons = (await few.Engine.Feed(RunHarness.Org, Session, 0, 10_000, default)).Entries.Where(e => e.Is<KernelStopped>())
            .Select(e => JsonElement.Parse(e.Data.Span).GetProperty("reason").GetString()!).ToList();
        Assert.True(reasons.Count(r => r == KernelStopReasons.Room) >= 10, string.Join(' ', reasons));
    }

    async Task<RunKey> Turn(RunHarness.Host host, string message)
    {
        var (turn, refused) = await host.Turns.Submit(RunHarness.Org, RunHarness.User, new(Session, message, "offline", null, null), default);
        Assert.Null(refused);
        return turn!.Run;
    }

    async Task<Run.Ended> End(RunHarness.Host host, RunKey run)
    {
        await Patience.Until(async () => await host.Commands.LatestState(RunHarness.Org, Run.Aggregate, run, default) is Run.Ended);
        return (Run.Ended)await host.Commands.LatestState(RunHarness.Org, Run.Aggregate, run, default);
    }

    async Task<string> Result(RunKey run)
    {
        var result = (await harness.Engine.OfRun(RunHarness.Org, Session, run, default)).Last(e => e.Is<RunEvent.ToolResult>());
        return JsonElement.Parse(result.Data.Span).GetProperty("content").GetString()!;
    }

    [Fact]
    public async Task An_agent_executes_code_in_the_newest_scratchpad_and_makes_one_when_there_is_none()
    {
        var host = harness.AddHost("a");
        Assert.Null(await Do(host, new OpenSession(Session, work.Root, "{}", null)));
        await While(host, async () =>
        {
            await End(host, await Turn(host, "```python\nx=7\n```\n```python\nx\n```"));
            var made = Assert.Single(await host.Scratchpads.Of(RunHarness.Org, Session, 10, default));
            var second = await Turn(host, "```python\nx\n```");
            await End(host, second);
            Assert.StartsWith($"7\n[{made}, cell_", await Result(second));
            var failing = await Turn(host, "```python\nraise\n```");
            await End(host, failing);
            Assert.StartsWith("Traceback\n[", await Result(failing));
            Assert.Equal(4, ((Scratchpad.Live)await host.Commands.LatestState(RunHarness.Org, Scratchpad.Aggregate, made, default)).Cells.Count);
            var view = await Turn(host, "/tool scratchpad {\"action\":\"view\"}");
            await End(host, view);
            Assert.Contains("[1] code\nx\n->\n7\n", await Result(view));
            var reset = await Turn(host, "/tool scratchpad {\"action\":\"reset\"}\n```python\nx\n```");
            await End(host, reset);
            Assert.StartsWith("nothing\n", await Result(reset));
        });
    }

    [Fact]
    public async Task What_an_agents_cell_writes_is_the_runs_artifact()
    {
        var host = await NewHost();
        RunKey run = default;
        await While(host, async () =>
        {
            run = await Turn(host, "```python\nfile report.md\n```");
            await End(host, run);
        });
        var found = Assert.Single(await harness.Engine.OfRun(RunHarness.Org, Session, run, default), e => e.Is<ArtifactEvent.ArtifactDiscovered>());
        Assert.Equal(run, ((ArtifactEvent.ArtifactDiscovered)EventTypesRead(found)).RunId);
        Assert.Contains("Wrote .anton/output/report.md (8 bytes).", await Result(run));
    }

    static Event EventTypesRead(Storage.FeedEntry entry) => entry.Read();

    [Fact]
    public async Task Code_that_says_it_takes_long_waits_for_a_person_and_code_that_touches_secrets_is_refused()
    {
        var host = await NewHost("x=1");
        await While(host, async () =>
        {
            var asked = await Turn(host, "/tool scratchpad {\"action\":\"exec\",\"code\":\"x\",\"estimate_seconds\":91}");
            await Patience.Until(async () => await host.Commands.LatestState(RunHarness.Org, Run.Aggregate, asked, default) is Run.Suspended);
            Assert.Empty(kernels.Started);
            Assert.Null(await Do(host, new InterruptCell(Pad, Cells[0])));
            Assert.Null(await Do(host, new CancelRun(asked, null)));
            var denied = await Turn(host, "/tool scratchpad {\"action\":\"exec\",\"code\":\"x\",\"touches\":[\"a.csv\",\".env\"]}");
            await End(host, denied);
            Assert.Contains("secret_path", await Result(denied));
        });
    }

    [Fact]
    public async Task Cancelling_the_run_interrupts_its_cell()
    {
        var host = await NewHost();
        await While(host, async () =>
        {
            var run = await Turn(host, "```python\nwait\n```");
            await Patience.Until(async () => (await Story()).LastOrDefault() == "cell_output");
            Assert.Null(await Do(host, new CancelRun(run, null)));
            await End(host, run);
            await Patience.Until(async () => await Shown(host, 0) == "interrupted");
        });
    }

    [Fact]
    public async Task A_run_that_is_past_its_time_interrupts_its_cell()
    {
        var host = await NewHost();
        await While(host, async () =>
        {
            var run = await Turn(host, "```python\nwait\n```");
            await Patience.Until(async () => (await Story()).LastOrDefault() == "cell_output");
            harness.Clock.Advance(RunLimits.Default.Time + TimeSpan.FromSeconds(1));
            Assert.Equal("failed", (await End(host, run)).Status);
            await Patience.Until(async () => await Shown(host, 0) == "interrupted");
        });
    }

    [Fact]
    public async Task A_model_is_told_that_variables_of_earlier_cells_are_gone()
    {
        var host = await NewHost();
        await While(host, async () =>
        {
            await End(host, await Turn(host, "```python\nx=1\n```"));
            kernels.Started[0].Lose("It was killed.");
            await Patience.Until(async () => (await Story())[^1] == "kernel_lost");
            var run = await Turn(host, "```python\nx\n```");
            await End(host, run);
            Assert.StartsWith("nothing\n(The kernel is a new one: variables of earlier cells are gone.)", await Result(run));
        });
    }

    /// <summary>The host stops in the middle of a cell: the next one executes it again, for the same call.</summary>
    [Fact]
    public async Task A_call_whose_host_is_gone_finds_its_cell_and_waits_for_its_second_attempt()
    {
        var host = await NewHost();
        RunKey run;
        using (var stopping = new CancellationTokenSource())
        {
            var working = host.Work(stopping.Token);
            run = await Turn(host, "```python\nwait\n```");
            await Patience.Until(async () => (await Story()).LastOrDefault() == "cell_output");
            await stopping.CancelAsync();
            await working;
        }
        var other = harness.AddHost("b");
        await While(other, async () =>
        {
            await Patience.Until(async () => ((Scratchpad.Live)await State(other)).Running?.Of.Attempt == 2 && (await Story())[^1] == "cell_output");
            Assert.Null(await Do(other, new InterruptCell(Pad, ((Scratchpad.Live)await State(other)).Cells.Single().CellId)));
            await End(other, run);
        });
        Assert.Contains("this is attempt 2", await Result(run));
        Assert.Equal(["cell_queued"], (await Story()).Where(e => e == "cell_queued"));
    }
}
