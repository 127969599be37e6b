using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Application.Tests;

/// <summary>Cancelled, as far as the code can tell: nothing may be recorded of it.</summary>
sealed class HostDiedException : OperationCanceledException;

/// <summary>The application on the in-memory engine: one database, and as many hosts as a test adds.</summary>
sealed class RunHarness
{
    public const string Org = "default";

    public static readonly Origin User = new("user:local");

    public RunHarness() => Engine = new(ReadModels.Tables, Clock);

    public TestClock Clock { get; } = new();

    public InMemoryEngine Engine { get; }

    public InMemoryBlobs Blobs { get; init; } = new();

    public TextsInMemory Texts { get; } = new();

    public InMemoryArchives Archives { get; } = new();

    public GroupOptions Groups { get; init; } = new();

    public RetentionOptions Retention { get; init; } = new();

    public IDocumentText Documents { get; init; } = new PlainDocumentText();

    public ScriptedModel Model { get; init; } = new();

    public IKernels Kernels { get; init; } = ScriptedKernels.Echoing();

    public ScratchpadOptions ScratchpadOptions { get; init; } = new() { OutputEvery = TimeSpan.Zero };

    /// <summary>Models beside the scripted one.</summary>
    public Dictionary<string, IChatClient> Models { get; } = [];

    public CountingTool Tool { get; } = new();

    /// <summary>The agents of groups.</summary>
    public IReadOnlyList<AgentDefinition> Agents { get; init; } = [];

    public RunOptions Options { get; init; } = new() { DefaultModel = "scripted" };

    public TenantQuotas Quotas { get; init; } = TenantQuotas.Default;

    public ApprovalOptions Approvals { get; init; } = new();

    /// <summary>By rule, so that a run is all that a host has to do.</summary>
    public MemoryOptions Memory { get; init; } = new() { NotesByModel = false };

    /// <summary>Every session's folder.</summary>
    public string Workspace { get; init; } = "/w";

    /// <summary>The tools, in place of the counting one.</summary>
    public IReadOnlyList<ITool>? Tools { get; init; }

    /// <summary>Tools of each host, in place of the others.</summary>
    public Func<Host, IReadOnlyList<ITool>>? ToolsOf { get; init; }

    /// <summary>The tools of outside sources of each host; null: it reaches none.</summary>
    public Func<Host, (OutsideTools Tools, ToolConnections Connections)>? OutsideOf { get; init; }

    public Policy Policy { get; init; } = Policy.BuiltIn;

    public NextTime NextTime { get; init; } = CronTimes.Next;

    /// <param name="leftToOthers">Kinds of jobs that it never claims.</param>
    public Host AddHost(string name, params string[] leftToOthers) => new(this, name, leftToOthers);

    /// <summary>From now on whoever commits dies at these commits, counted from 0: before they happen, or after and without having heard of it.</summary>
    public void DieAt(IReadOnlyList<(int At, bool After)> deaths)
    {
        var commits = 0;
        Engine.FailPoint = (_, after) =>
        {
            var at = after ? commits++ : commits;
            if (deaths.Contains((at, after)))
            {
                commits += after ? 0 : 1;
                throw new HostDiedException();
            }
        };
    }

    /// <summary>Repeats a step until it answers false. When a host dies in it, another takes its place. Answers the host that is left, and how many died.</summary>
    public async Task<(Host Left, int Crashes)> Outlive(Host host, Func<Host, Task<bool>> step)
    {
        var crashes = 0;
        while (true)
        {
            try
            {
                if (!await step(host))
                {
                    return (host, crashes);
                }
            }
            catch (HostDiedException)
            {
                host.Node.Die();
                host = ++crashes < 100 ? AddHost($"n{crashes}") : throw new InvalidOperationException("No progress.");
            }
        }
    }

    /// <summary>Stored names of a stream's events, in order.</summary>
    public async Task<List<string>> Story(string stream) =>
        [.. (await Engine.Load(Org, stream, 0, int.MaxValue, default)).Events.Select(e => EventTypes.FeedType(e.Type))];

    /// <summary>Every tenant may use every folder.</summary>
    public sealed class AnyFolder : IWorkspaces
    {
        public ValueTask<Grants?> Grants(string org, Session.Open session, CancellationToken ct) => new(session.Grants is { } granted
            ? Application.Grants.Of(granted.Select(folder => Grant.Of(folder.Path).With(folder)))
            : Application.Grants.Of(Grant.Of(session.WorkspacePath)));

        public ValueTask<(string? Path, Refusal? Refused)> Prepare(string org, SessionKey session, string? asked, CancellationToken ct) => new((asked ?? "/w", null));
    }

    /// <summary>One host.</summary>
    public sealed class Host
    {
        readonly JobsInProcess jobs;
        readonly string workspace;

        public Host(RunHarness bench, string name, string[] leftToOthers)
        {
            Hub = new(bench.Engine);
            (OutsideTools Tools, ToolConnections Connections)? outside = null;
            Node = bench.Engine.AddNode(
                name, new CommitObservers(() => [Commands!, History!, Memories!, Files!, Messages!, .. outside is { } made ? [made.Connections] : (ICommitObserver[])[], Hub]),
                TimeSpan.FromSeconds(10), leftToOthers);
            Commands = new(Node, bench.Engine, bench.Blobs, ReadModels.All, bench.Clock, bench.NextTime);
            Memories = new(bench.Engine, bench.Engine);
            Queries = new(bench.Engine, Commands, Memories);
            var queries = Queries;
            History = new(Commands, queries);
            Scratchpads = new(bench.Engine);
            outside = bench.OutsideOf?.Invoke(this);
            var toolbox = new Toolbox(bench.ToolsOf?.Invoke(this) ?? bench.Tools ?? [bench.Tool], outside?.Tools);
            var models = new Dictionary<string, IChatClient>(bench.Models) { ["scripted"] = bench.Model };
            Settings = new(toolbox, bench.Policy, bench.Options, bench.Approvals, bench.Memory, models, bench.Blobs);
            var memory = new MemoryStep(Commands, queries, History, bench.Blobs, Settings, name);
            Usage = new(queries, bench.Quotas, bench.Options, bench.Clock);
            Turns = new(Commands, Commands, Usage, memory, Node, bench.Blobs, models, bench.Options, bench.Clock);
            Skills = new(Commands, Turns, bench.Blobs);
            var agents = new AgentCatalog(bench.Agents);
            GroupRuns = new(agents, Usage, bench.Blobs, bench.Options);
            Messages = new(Commands, new(Commands, Commands, bench.Blobs), GroupRuns, agents, Usage, Node, bench.Options, bench.Clock);
            Driven = new(Hub, queries, bench.Clock, NullLogger<DrivenRuns>.Instance);
            Budgets = new(Commands, models);
            Records = new(bench.Engine);
            var recorder = new RunRecorder(
                Commands, new AnyFolder(), new(toolbox, bench.Policy, bench.Blobs, bench.Approvals, Records), models, bench.Blobs, Budgets, bench.Options, bench.Memory, Settings,
                GroupRuns);
            Driver = new(
                Commands, Driven, recorder, memory,
                new(recorder, models, toolbox, queries, bench.Blobs, bench.Options, bench.Policy, Budgets, Records, bench.Clock, NullLogger<ModelStep>.Instance),
                new(recorder, toolbox, bench.Blobs, Records, bench.Clock, NullLogger<ToolStep>.Instance), bench.Options, name, bench.Clock, NullLogger<RunDriver>.Instance);
            Counterfactuals = new(new(bench.Engine, queries, Commands), Turns, Usage, models, bench.Clock);
            Decisions = new(Commands, queries, bench.Approvals);
            Expiry = new(Commands, queries, bench.Clock);
            Notes = new(Commands, Commands, bench.Engine, models, Budgets, bench.Blobs, bench.Clock, NullLogger<RunNotes>.Instance);
            Scheduled = new(Commands, Skills, Turns, new(Commands, Commands, bench.Blobs), bench.Blobs, new AnyFolder(), Usage, bench.Clock);
            Scheduler = new(Commands, Commands, Scheduled, Node, bench.NextTime, bench.Clock, NullLogger<Scheduler>.Instance);
            Files = new(bench.Engine);
            FileDeletion = new(Commands, Files, bench.Texts);
            ScratchpadDeletion = new(Commands, Scratchpads);
            Holder = new(
                Commands, bench.Kernels, new AnyFolder(), bench.Blobs, Hub, Node, new(), bench.ScratchpadOptions, name, bench.Clock, NullLogger<ScratchpadHolder>.Instance);
            FileTexts = new(bench.Texts, bench.Blobs, Files, Tests.Workspace.Files(index: bench.Texts), bench.Clock, NullLogger<FileTexts>.Instance);
            Extraction = new(Commands, Commands, bench.Documents, bench.Blobs, FileTexts);
            Deletion = new(Commands, queries, FileDeletion, ScratchpadDeletion);
            Archiving = new(Commands, bench.Archives, new GroupArchive(bench.Engine, new(bench.Engine, bench.Engine, bench.Blobs), bench.Blobs).Write, Node);
            Idle = new(Commands, bench.Engine, Node, bench.Groups, bench.Clock);
            Sweep = new(
                Commands, Commands, bench.Engine, new RetentionQueries(bench.Engine), Node, new(bench.Engine, bench.Blobs, bench.Blobs, bench.Clock), bench.Retention, bench.Clock);
            Removal = new(Commands, Commands, bench.Engine, new RetentionQueries(bench.Engine), new(bench.Engine, new(Org)), bench.Texts, Sweep, Node);
            Watch = new(Node, Node, bench.Clock, NullLogger<ClockWatch>.Instance);
            workspace = bench.Workspace;
            jobs = new(Node, [Driver, Expiry, Notes, Scheduler, Deletion, FileDeletion, Extraction, ScratchpadDeletion, Holder, Archiving, Idle, Sweep, Removal], bench.Options.Parallel, bench.Clock);
        }

        public FeedHub Hub { get; }

        public InMemoryEngine.Node Node { get; }

        public CommandHandler Commands { get; }

        public RunQueries Queries { get; }

        public SessionHistory History { get; }

        public RecordedSettings Settings { get; }

        public MemoryIndex Memories { get; }

        public TenantUsage Usage { get; }

        public Turns Turns { get; }

        public Budgets Budgets { get; }

        public RunRecords Records { get; }

        public Counterfactuals Counterfactuals { get; }

        public SkillRuns Skills { get; }

        public GroupRuns GroupRuns { get; }

        public GroupMessages Messages { get; }

        public RunDriver Driver { get; }

        public DrivenRuns Driven { get; }

        public ApprovalDecisions Decisions { get; }

        public ApprovalExpiry Expiry { get; }

        public RunNotes Notes { get; }

        public ScheduledRuns Scheduled { get; }

        public Scheduler Scheduler { get; }

        public ProjectDeletion Deletion { get; }

        public FileQueries Files { get; }

        public FileDeletion FileDeletion { get; }

        public FileTexts FileTexts { get; }

        public ScratchpadQueries Scratchpads { get; }

        public ScratchpadDeletion ScratchpadDeletion { get; }

        public ScratchpadHolder Holder { get; }

        public FileExtraction Extraction { get; }

        public GroupArchiving Archiving { get; }

        public IdleGroups Idle { get; }

        public RetentionSweep Sweep { get; }

        public ExpiryRemoval Removal { get; }

        public ClockWatch Watch { get; }

        public Task Work(CancellationToken stopping) => jobs.Run(stopping);

        /// <summary>Does every job that is due.</summary>
        public async Task Drive()
        {
            Node.ClaimDue();
            while (Node.Ready > 0)
            {
                await DriveOne();
                Node.ClaimDue();
            }
        }

        /// <summary>Does one job that is due, as the runner would.</summary>
        public async Task DriveOne()
        {
            await foreach (var (claim, lost) in Node.Claims(CancellationToken.None))
            {
                var handler = new IJobHandler[] { Driver, Expiry, Notes, Deletion, FileDeletion, Extraction, ScratchpadDeletion, Holder, Archiving, Idle, Sweep, Removal }
                    .Single(h => h.Kind == claim.Kind);
                if (!await handler.Run(claim, lost))
                {
                    await Node.Complete(claim, default);
                }
                return;
            }
        }

        public async Task OpenSession(string key) =>
            await Commands.Execute(Org, User, new OpenSession(SessionKey.Own(key), workspace, "{}", null), CancellationToken.None);

        /// <summary>Decides, as a user; answers the refusal's code.</summary>
        public async Task<string?> Decide(ApprovalKey approval, bool approved, string? note = null, string by = "user:bob") =>
            (await Decisions.Decide(Org, new(by), approval, approved, note, null, CancellationToken.None)).Refused?.Code;

        public async Task<RunKey> Send(string session, string message, string? key = null, Origin? by = null)
        {
            var (turn, refused) = await Turns.Submit(Org, by ?? User, new(new(session), message, null, key, null), CancellationToken.None);
            return turn?.Run ?? throw new InvalidOperationException(refused!.Code);
        }
    }
}
