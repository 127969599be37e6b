using Cowork.Domain;
using Cowork.Projections;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>
/// A run that used what a run can use: an earlier turn, facts in two versions, a skill of the project and one that the message names, a cell, artifacts, a note, and a person's
/// approval.
/// </summary>
sealed class RichRun : IDisposable
{
    public static readonly SkillKey Brief = new("01k9sk1110000000000000000a");
    public static readonly MemoryKey Fact = new("01k9fact00000000000000000a");
    static readonly ProjectKey Sales = new("01kdvkjr000000000000000007");

    readonly Workspace work = new();

    public RichRun()
    {
        var memories = new LateMemories();
        Harness = new()
        {
            Workspace = work.Root,
            ToolsOf = host =>
            [
                new WriteFile(Policy.BuiltIn, Harness!.Blobs, Workspace.NoUploads), new Remember(memories),
                new UseScratchpad(host.Commands, new(host.Commands, host.Commands, Harness.Blobs), host.Commands, host.Scratchpads, Harness.Kernels, host.Hub, Harness.Blobs, Harness.Clock),
            ],
        };
        Host = Harness.AddHost("n0");
        memories.Book = new(Host.Commands, Host.Queries, Harness.Blobs);
    }

    public RunHarness Harness { get; }

    public RunHarness.Host Host { get; }

    /// <summary>The run before it in its session.</summary>
    public RunKey Earlier { get; private set; }

    public RunKey Later { get; private set; }

    public static SessionKey Session { get; } = new("s");

    public void Dispose() => work.Dispose();

    /// <summary>The bundle of the run, which has completed.</summary>
    public async Task<byte[]> Bundle()
    {
        await Do(new CreateSkill(Brief, new("brief", "d", "{}", null, [], Content.Of("Be brief."), [])));
        await Do(new AddSkillVersion(Brief, new(Instructions: Optional<Content>.Of(Content.Of("Be very brief.")))));
        await Do(new CreateMemory(Fact, Content.Of("The kraken sleeps."), null));
        await Do(new ChangeMemory(Fact, Content.Of("The kraken wakes.")));
        await Do(new CreateProject(Sales, new("Sales", null, [], [Brief], null)));
        await Do(new OpenSession(Session, work.Root, "{}", null, Project: Sales));
        using var stopping = new CancellationTokenSource();
        var working = Host.Work(stopping.Token);
        Earlier = await Send("Hello.");
        await End(Earlier);
        Later = await Send(
            """
            Does the kraken sleep?
            scratchpad {"action":"exec","code":"print(1)"}
            remember {"content":"tea"}
            write_file {"path":".anton/output/a.txt","content":"hello"}
            write_file {"path":"report.md","content":"hello"}
            """);
        Run.Suspended? waiting = null;
        while ((waiting = await Host.Commands.LatestState(RunHarness.Org, Run.Aggregate, Later, default) as Run.Suspended) is not { Pending: not null })
        {
            await Task.Yield();
        }
        Assert.Null(await Host.Decide(waiting.Pending.ApprovalId, approved: true));
        await End(Later);
        await stopping.CancelAsync();
        await working;
        return (await TraceBundle.Build(Harness.Engine, Harness.Blobs, RunHarness.Org, Session, Later, default))!;
    }

    async Task<RunKey> Send(string message) => await Host.Send(Session.Value, message, by: new("user:ann", "0af7651916cd43dd8448eb211c80319c"));

    async Task End(RunKey run)
    {
        while (await Host.Commands.LatestState(RunHarness.Org, Run.Aggregate, run, default) is not Run.Ended)
        {
            await Task.Yield();
        }
    }

    public async Task Do(ICommand command) =>
        Assert.Null((await ((ICommandExecutor)Host.Commands).Execute(RunHarness.Org, RunHarness.User, command, default)).Refused);

    /// <summary>Memories of a host that is made after its tools.</summary>
    sealed class LateMemories : IMemories
    {
        public MemoryBook? Book { get; set; }

        public ValueTask<MemoryKey?> Remember(ToolContext context, string content, CancellationToken ct) => Book!.Remember(context, content, ct);

        public ValueTask<IReadOnlyList<(Provenance From, string Text)>> Recall(ToolContext context, string query, int limit, CancellationToken ct) => Book!.Recall(context, query, limit, ct);
    }
}
