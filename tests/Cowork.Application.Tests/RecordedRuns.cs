using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using System.Text.Json;

using Cowork.Application.Models;
using Cowork.Domain;

using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Application.Tests;

/// <summary>
/// Runs of every kind, drawn from a seed: a model that fails, thinks, is cut off and calls whatever tool there is; persons who approve, reject, cancel and say something at any moment;
/// hosts that die; limits and budgets that end; earlier turns, skills, context files, long texts.
/// </summary>
sealed class RecordedRuns : IDisposable
{
    public const string Session = "s";

    static readonly ConnectionKey Orders = new("01kdvkjr000000000000000031");
    static readonly SkillKey Reader = new("01k9sk1110000000000000000b");

    readonly Workspace work = new();
    readonly Random random;
    readonly DiceModel model;
    readonly MasterKey master = MasterKey.New();
    readonly Orderer source = new();
    readonly List<RunKey> runs = [];
    RunHarness.Host host = null!;

    public RecordedRuns(int seed)
    {
        random = new(seed);
        model = new(random);
        var policy = random.Next(4) == 0 ? new Policy(Policy.BuiltIn.Rules) { ShowThinking = true } : Policy.BuiltIn;
        Harness = new()
        {
            Workspace = work.Root,
            Policy = policy,
            Options = new()
            {
                DefaultModel = "dice",
                DeltaEvery = TimeSpan.FromMilliseconds(100),
                Limits = random.Next(3) == 0 ? new(random.Next(20, 400), random.Next(1, 6), random.Next(1, 5), TimeSpan.FromMinutes(random.Next(1, 90))) : RunLimits.Default,
            },
            Models = { ["dice"] = model },
            OutsideOf = Outside,
            ToolsOf = Tools,
        };
    }

    public RunHarness Harness { get; }

    public IReadOnlyList<RunKey> Runs => runs;

    public void Dispose() => work.Dispose();

    /// <summary>How often the model, the tools and the other source were asked.</summary>
    public int Asked => model.Asked + source.Asked;

    /// <summary>The host that is left.</summary>
    public RunHarness.Host Host => host;

    /// <summary>Every file of the folder with what it holds.</summary>
    public string Files => string.Join('\n', Directory.EnumerateFiles(work.Root, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)
        .Select(file => $"{Path.GetRelativePath(work.Root, file)} {Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(file)))}"));

    /// <summary>How often the other source was asked.</summary>
    public int AskedSource => source.Asked;

    /// <summary>From now on nothing else happens while the model answers.</summary>
    public void Settle() => model.Before = () => Task.CompletedTask;

    /// <summary>From now on the model and the other source throw.</summary>
    public void Forbid()
    {
        model.Before = () => throw new InvalidOperationException("A replay asks the model.");
        source.IsForbidden = true;
    }

    /// <summary>Makes runs, one after the other in one session.</summary>
    public async Task Make(int count)
    {
        host = Harness.AddHost("n0");
        work.Write("notes.txt", "Kestrels nest in April.");
        work.Write("long.txt", new string('x', 3_000));
        await host.OpenSession(Session);
        await Do(new CreateSkill(Reader, new("reader", "d", "{}", null, [], Content.Of("Read first."), ["read_file", "remember"])));
        await Do(new CreateConnection(
            Orders, "mcp", "orders", await Secrets(host).Seal(RunHarness.Org, Orders, ImmutableDictionary<string, string>.Empty.Add("bearer", "s3cr3t-token"), default), new()));
        if (random.Next(5) == 0)
        {
            await Do(new SetBudget(BudgetLimits.Of(random.Next(0, 3) * DiceModel.CallMicroUsd)));
        }
        for (var i = 0; i < count; i++)
        {
            await One(i);
        }
    }

    async Task One(int number)
    {
        var message = random.Next(60) == 0 ? $"run {number} {new string('m', Limits.InlineBytesMax)}" : $"run {number} about kestrels";
        var run = (await host.Turns.Submit(
            RunHarness.Org, RunHarness.User,
            new(
                new(Session), message, null, null, null, Skills: random.Next(6) == 0 ? new([Reader], null) : null,
                ContextFiles: random.Next(6) == 0 ? [new("notes.txt", new('a', 64), 23, Content.Of("Kestrels nest in April."), IsCut: false)] : null),
            default)).Turn!.Run;
        runs.Add(run);
        model.Before = async () =>
        {
            Harness.Clock.Advance(TimeSpan.FromMilliseconds(random.Next(1, 400)));
            switch (random.Next(24))
            {
                case 0:
                    await Commit(new GiveFeedback(run, Content.Of($"feedback {random.Next(100)}"), null));
                    break;
                case 1:
                    await Commit(new CancelRun(run, null));
                    break;
                case 2:
                    Harness.Clock.Advance(TimeSpan.FromMinutes(random.Next(1, 120)));
                    break;
                case 3:
                    throw new HostDiedException();
            }
        };
        if (random.Next(4) == 0)
        {
            Harness.DieAt([.. Enumerable.Range(0, 12).Where(_ => random.Next(4) == 0).Select(at => (at, random.Next(2) == 0))]);
        }
        await Drive();
        Harness.Engine.FailPoint = null;
        while (await Waiting(run) is { } approval)
        {
            switch (random.Next(6))
            {
                case 0:
                    await host.Decide(approval, approved: false, random.Next(2) == 0 ? "not now" : null);
                    break;
                case 1:
                    Harness.Clock.Advance(TimeSpan.FromHours(25));
                    break;
                case 2:
                    await Commit(new GiveFeedback(run, Content.Of("while it waits"), null));
                    await host.Decide(approval, approved: true);
                    break;
                case 3 when random.Next(2) == 0:
                    await Commit(new CancelRun(run, null));
                    break;
                default:
                    await host.Decide(approval, approved: true);
                    break;
            }
            await Drive();
        }
    }

    /// <summary>Hosts do what there is to do, and others take the place of those that die.</summary>
    async Task Drive()
    {
        var (left, _) = await Harness.Outlive(host, async living =>
        {
            host = living;
            living.Node.ClaimDue();
            await living.Drive();
            return living.Node.Ready > 0;
        });
        host = left;
    }

    async Task<ApprovalKey?> Waiting(RunKey run) =>
        await host.Commands.LatestState(RunHarness.Org, Run.Aggregate, run, default) is Run.Suspended { Pending: { } pending } ? pending.ApprovalId : null;

    async Task Commit(ICommand command) => await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, command, default);

    async Task Do(ICommand command)
    {
        if ((await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, command, default)).Refused is { } refused)
        {
            throw new InvalidOperationException(refused.Code);
        }
    }

    IReadOnlyList<ITool> Tools(RunHarness.Host of)
    {
        var (policy, blobs, book) = (Harness.Policy, Harness.Blobs, new MemoryBook(of.Commands, of.Queries, Harness.Blobs));
        return
        [
            new ReadFile(policy, Workspace.NoUploads, blobs), new WriteFile(policy, blobs, Workspace.NoUploads), new DeleteFile(policy), new MoveFile(policy, blobs, Workspace.NoUploads),
            new ListFiles(policy, Workspace.NoUploads), new Remember(book), new Recall(book),
            new Cells(),
        ];
    }

    TenantSecrets Secrets(RunHarness.Host of) => new(of.Commands, of.Commands, new([master], "the spec"), new("default"), Harness.Clock);

    (OutsideTools, ToolConnections) Outside(RunHarness.Host of)
    {
        var catalog = new ConnectorCatalog([source]);
        var connections = new ToolConnections(of.Queries, catalog);
        return (
            new(
                Harness.Policy, new(of.Commands, of.Commands, new(of.Commands, of.Commands, Secrets(of)), catalog), connections,
                new(catalog, Harness.Clock, NullLogger<ConnectorCalls>.Instance), Harness.Blobs, Harness.Clock),
            connections);
    }

    /// <summary>Cells as the policy sees them: some say that they take long.</summary>
    sealed class Cells : ITool
    {
        public string Name => "scratchpad";

        public string Description => "Runs code.";

        public JsonElement Schema { get; } = JsonElement.Parse("""{"type":"object"}""");

        public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) =>
            new(new CallSubject("execute") { EstimateSeconds = 30 * input.GetProperty("seconds").GetInt32() });

        public Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct) => Task.FromResult(ToolOutcome.Ok($"Out: {input.GetRawText()}"));
    }

    /// <summary>A server with a tool that reads and one that writes.</summary>
    sealed class Orderer : IConnector
    {
        static readonly ImmutableList<SourceTool> All = [new("find_order", "Finds an order.", "{}", IsRead: true), new("add_order", "Adds an order.", "{}", IsRead: false)];

        public int Asked { get; private set; }

        public bool IsForbidden { get; set; }

        public bool HasTools => true;

        public ConnectorSpec Spec { get; } = new("mcp", "MCP server", "", ConnectorAuth.Credentials, [new("bearer", "Token", IsSecret: true)]);

        public ValueTask<Probe> Probe(ConnectionSettings settings, CancellationToken ct) => new(Application.Probe.Connected);

        public ValueTask<ConnectorEffect> Judge(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct) =>
            new(All.Find(tool => tool.Name == ((ConnectorRequest.Call)request).Tool) is { IsRead: false } ? ConnectorEffect.Write : ConnectorEffect.Read);

        public ValueTask<ConnectorAnswer> Ask(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct)
        {
            Asked++;
            return IsForbidden ? throw new InvalidOperationException("A replay asks another source.")
                : new(request is ConnectorRequest.Call call ? new ConnectorAnswer.Text($"called {call.Tool}") : new ConnectorAnswer.Tools(All, []));
        }
    }

    /// <summary>A model with a price that throws dice for everything that it does.</summary>
    sealed class DiceModel(Random random) : IChatClient
    {
        const int TokenPrice = 10, TokensMax = 100;

        public const long CallMicroUsd = TokenPrice * TokensMax;

        static readonly string[] Calls =
        [
            """read_file {"path":"notes.txt"}""", """read_file {"path":"long.txt"}""", """read_file {"path":"missing.txt"}""", """read_file {"path":"../outside.txt"}""",
            """read_file {"path":".env"}""", "read_file {broken", """write_file {"path":".anton/output/report.md","content":"# Report N"}""",
            """write_file {"path":"plain.txt","content":"N"}""", """delete_file {"path":"plain.txt"}""", """move_file {"from":"plain.txt","to":"moved.txt"}""", "list_files {}",
            """remember {"content":"Kestrel fact N"}""", """recall {"query":"kestrels"}""", """no_such_tool {"a":1}""",
            """scratchpad {"seconds":N}""", """mcp__orders__find_order {"number":N}""", """mcp__orders__add_order {"number":N}""",
            "read_file {\"path\":\"odd \\u0000 \\ud800\"}",
        ];

        public int Asked { get; private set; }

        /// <summary>Waited for before anything is answered.</summary>
        public Func<Task> Before { get; set; } = () => Task.CompletedTask;

        public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
            IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            Asked++;
            await Before();
            cancellationToken.ThrowIfCancellationRequested();
            if (random.Next(30) == 0)
            {
                throw new InvalidOperationException("A bug of the client.");
            }
            if (random.Next(5) == 0)
            {
                yield return new(ChatRole.Assistant, [new TextReasoningContent("Let me see. ") { ProtectedData = random.Next(2) == 0 ? """{"format":"dice"}""" : null }]);
            }
            for (var pieces = random.Next(4); pieces > 0; pieces--)
            {
                yield return new(ChatRole.Assistant, random.Next(8) switch
                {
                    0 => "odd \0 \ud800 text ",
                    1 when random.Next(30) == 0 => new string('t', Limits.InlineBytesMax + 5),
                    _ => $"piece {random.Next(100)} ",
                });
            }
            if (random.Next(8) == 0)
            {
                throw random.Next(3) switch
                {
                    0 => new ModelException(ModelException.Refused, "The model refused."),
                    1 => new ModelException(ModelException.Unavailable, "The model is busy.") { Usage = new() { InputTokenCount = 3, OutputTokenCount = 1 } },
                    _ => new ModelException("The answer broke off."),
                };
            }
            if (random.Next(5) < 3)
            {
                for (var calls = random.Next(1, 4); calls > 0; calls--)
                {
                    var call = Calls[random.Next(Calls.Length)].Replace("N", $"{random.Next(5)}", StringComparison.Ordinal);
                    var space = call.IndexOf(' ', StringComparison.Ordinal);
                    yield return new(ChatRole.Assistant, [CallArguments.Call(random.Next(6) == 0 ? "" : $"c{random.Next(4)}", call[..space], call[(space + 1)..])]);
                }
            }
            var usage = new UsageDetails { InputTokenCount = random.Next(1, 60), OutputTokenCount = random.Next(1, 40), CachedInputTokenCount = random.Next(3) == 0 ? 1 : null };
            yield return new(ChatRole.Assistant, [new UsageContent(usage)]) { ModelId = random.Next(3) == 0 ? "dice-2" : null, FinishReason = random.Next(12) == 0 ? ChatFinishReason.Length : null };
        }

        public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
            GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

        public object? GetService(Type serviceType, object? serviceKey = null) =>
            serviceType == typeof(ModelTerms) ? new ModelTerms(new(0, TokenPrice), TokensMax, new(3, TimeSpan.Zero, TimeSpan.Zero)) : null;

        public void Dispose()
        {
        }
    }
}
