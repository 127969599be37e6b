using System.Collections.Immutable;
using System.Runtime.CompilerServices;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

using static Cowork.Domain.RunCommand;

namespace Cowork.Application.Tests;

/// <summary>Feedback that comes at any moment, between any two events, on hosts that die at any commit.</summary>
public sealed class FeedbackSpecs
{
    static readonly DateTimeOffset Now = new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero);

    /// <summary>
    /// Any order of feedback, answers, lost attempts, takeovers, tool results, approvals and cancels: each request is the beginning of every later one, so that feedback stands at
    /// one place, and has each feedback that was taken before it exactly once. The last request of a completed run has all of it.
    /// </summary>
    [Fact]
    public void Each_request_shows_all_feedback_once_and_is_the_beginning_of_the_next_in_any_order_of_events()
    {
        foreach (var seed in Seeds.Many(ordinary: 400, chaos: 40_000))
        {
            new Interleaving(seed).Run();
        }
    }

    /// <summary>
    /// The same with the driver, the log and the trace: hosts die at any commit, feedback comes before, between and during model and tool calls, and each request that reaches the model
    /// has what was taken before it.
    /// </summary>
    [Fact]
    public async Task Hosts_that_die_at_any_commit_show_each_feedback_once_and_in_one_place()
    {
        foreach (var seed in Seeds.Many(ordinary: 40, chaos: 4_000))
        {
            var random = new Random(seed);
            var model = new Listener();
            var bench = new RunHarness { Options = new() { DefaultModel = "listener" }, Models = { ["listener"] = model } };
            var host = bench.AddHost("n0");
            host.Node.Admits = random.Next(2) == 0;
            await host.OpenSession("s");
            var run = await host.Send("s", "go");
            var (taken, atRequest) = (new List<string>(), new List<int>());
            var speaking = host;
            await Say();
            model.Before = async () =>
            {
                atRequest.Add(taken.Count);
                await Say();
            };
            bench.Tool.Before = () => Say().GetAwaiter().GetResult();
            bench.DieAt([.. Enumerable.Range(0, 14).Where(_ => random.Next(3) == 0).Select(at => (at, random.Next(2) == 0))]);
            await bench.Outlive(host, async living =>
            {
                speaking = living;
                await living.Drive();
                return bench.Engine.Jobs.Count > 0;
            });
            bench.Engine.FailPoint = null;

            Assert.Equal("run_completed", (await bench.Story($"run-{run.Value}"))[^1]);
            for (var i = 0; i < model.Requests.Count; i++)
            {
                // What is refused with a death is not acknowledged, and may still have happened: it is shown, too.
                var said = model.Requests[i].Where(line => line.StartsWith("user feedback", StringComparison.Ordinal)).ToList();
                Assert.Equal(said.Distinct(), said);
                Assert.True(taken.Take(atRequest[i]).All(text => said.Contains($"user {text}")), $"seed {seed}: request {i}");
                Assert.True(i == 0 || model.Requests[i].Take(model.Requests[i - 1].Count).SequenceEqual(model.Requests[i - 1]), $"seed {seed}: request {i} moves what was said");
            }
            Assert.All(taken, text => Assert.Contains($"user {text}", model.Requests[^1]));
            Assert.Null(await ((IRows)bench.Engine).FindDifference(Runs.Model, default));
            var (_, fault) = TraceVerifier.Verify(await TraceBundle.Build(bench.Engine, bench.Blobs, RunHarness.Org, new("s"), run, default));
            Assert.True(fault is null, $"seed {seed}: {fault?.Location} {fault?.Message}");

            async Task Say()
            {
                if (random.Next(2) == 0)
                {
                    return;
                }
                var text = $"feedback {taken.Count} {random.Next()}";
                var result = await speaking.Commands.Execute(RunHarness.Org, RunHarness.User, new Application.GiveFeedback(run, Content.Of(text), null), default);
                if (result.Refused is null)
                {
                    taken.Add(text);
                }
            }
        }
    }

    [Fact]
    public async Task Feedback_that_another_host_takes_is_in_the_next_request_too()
    {
        var model = new Listener();
        var bench = new RunHarness { Options = new() { DefaultModel = "listener" }, Models = { ["listener"] = model } };
        var (driving, other) = (bench.AddHost("n0"), bench.AddHost("n1"));
        await driving.OpenSession("s");
        var run = await driving.Send("s", "go");
        var said = 0;
        bench.Tool.Before = () => Assert.Null(
            other.Commands.Execute(RunHarness.Org, new("user:bob"), new Application.GiveFeedback(run, Content.Of($"feedback {said++}"), null), default)
                .AsTask().GetAwaiter().GetResult().Refused);
        await driving.Drive();
        Assert.Equal(["user go"], model.Requests[0].Skip(1));
        Assert.Equal("user feedback 0", model.Requests[1][^1]);
        Assert.Equal("user feedback 1", model.Requests[2][^1]);
        Assert.Equal(3, model.Requests.Count);
    }

    /// <summary>A model that keeps what it is asked, asks for a tool twice, and then replies.</summary>
    sealed class Listener : IChatClient
    {
        public List<IReadOnlyList<string>> Requests { get; } = [];

        public Func<Task> Before { get; set; } = () => Task.CompletedTask;

        public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
            IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            var all = messages.ToList();
            Requests.Add([.. all.Select(m => $"{m.Role} {m.Text}{string.Concat(m.Contents.OfType<FunctionCallContent>().Select(c => c.CallId))}")]);
            await Before();
            var answered = all.Count(m => m.Role == ChatRole.Tool);
            yield return new(ChatRole.Assistant, answered < 2 ? [CallArguments.Call($"call_{answered}", "read_file", """{"path":"a"}""")] : [new TextContent("done")]);
        }

        public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
            GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

        public object? GetService(Type serviceType, object? serviceKey = null) => null;

        public void Dispose()
        {
        }
    }

    static bool SameEntry(ConversationEntry a, ConversationEntry b) => (a, b) switch
    {
        (ConversationEntry.ByModel m, ConversationEntry.ByModel n) => m.Text == n.Text && m.Calls.SequenceEqual(n.Calls),
        _ => a == b,
    };

    /// <summary>One run, and a world in which anything may happen between two of its events.</summary>
    sealed class Interleaving(int seed)
    {
        readonly Random random = new(seed);
        readonly List<Content> taken = [];
        readonly List<IReadOnlyList<ConversationEntry>> requests = [];
        Run state = new Run.None();
        long epoch;
        int calls;

        public void Run()
        {
            Do(new Create(new("1"), new("s"), Content.Of("hello"), "offline", null, Now));
            for (var i = 0; i < 200 && state is not Domain.Run.Ended; i++)
            {
                Anything();
                Step();
            }
            Refuse();
            if (state is Domain.Run.Ended { Status: "completed" })
            {
                Assert.Equal(taken, requests[^1].OfType<ConversationEntry.ByUser>().Select(e => e.Text));
            }
        }

        /// <summary>What the driver does next. The world goes on meanwhile.</summary>
        void Step()
        {
            switch (Domain.Run.Next(state, RunLimits.Default, Now))
            {
                case NextStep.Start:
                    Do(new Start(++epoch, "n", Now));
                    break;
                case NextStep.RetrieveMemory:
                    Do(new RecordMemory(epoch, [], [], Now));
                    break;
                case NextStep.AskModel:
                    Ask();
                    break;
                case NextStep.EvaluatePolicy policy when random.Next(3) == 0:
                    Do(new RequestApproval(epoch, policy.Call.Id, new ApprovalKey($"a{calls}"), "delete", "deletes", new('d', 64), Now.AddSeconds(60), Now));
                    break;
                case NextStep.EvaluatePolicy policy:
                    Do(new RecordPolicy(epoch, policy.Call.Id, random.Next(4) == 0 ? PolicyOutcome.Deny : PolicyOutcome.Allow, "rule", "", Now));
                    break;
                case NextStep.CallTool call:
                    var by = epoch;
                    Anything();
                    Do(new RecordResult(by, call.Call.Id, Content.Of("done"), false, Now));
                    break;
                case NextStep.WaitApproval wait:
                    Do(new RunCommand.DecideApproval(wait.ApprovalId, random.Next(2) == 0 ? ApprovalOutcome.Approved : ApprovalOutcome.Rejected, "user:bob", null, Now));
                    break;
                case NextStep.Finish:
                    Do(new Complete(epoch, Now));
                    break;
                case NextStep.ConfirmCancel:
                    Do(new ConfirmCancel(epoch, Now));
                    break;
                case NextStep.GiveUp why:
                    Do(new Fail(epoch, why.Code, why.Message, Now));
                    break;
            }
        }

        void Ask()
        {
            var asked = (Domain.Run.Active)state;
            var request = (IReadOnlyList<ConversationEntry>)[.. asked.Transcript, .. (asked.Feedback ?? []).Select(text => new ConversationEntry.ByUser(text))];
            Assert.Equal(taken, request.OfType<ConversationEntry.ByUser>().Select(e => e.Text));
            Assert.True(requests is not [.., var before] || request.Take(before.Count).SequenceEqual(before, EqualityComparer<ConversationEntry>.Create((a, b) => SameEntry(a!, b!))), $"seed {seed}");
            requests.Add(request);
            var by = epoch;
            Anything();
            if (random.Next(4) == 0)
            {
                // The attempt fails, or its host dies with it.
                Do(random.Next(2) == 0 ? new RetryModel(by, "model_failed", "cut", TimeSpan.Zero, Now) : new Start(++epoch, "n", Now));
                return;
            }
            var isReply = random.Next(3) == 0;
            ImmutableList<RequestedCall> requested = isReply ? [] : [new($"c{calls++}", "x", Content.Of("{}")), new($"c{calls++}", "x", Content.Of("{}"))];
            var answer = new Answer("offline", isReply ? "stop" : "tool_calls", new('a', 64), 3, 5, 7, requested, Feedback: asked.Feedback?.Count ?? 0);
            Do(new RecordAnswer(by, "text", isReply ? Content.Of("text") : null, answer, Now));
        }

        /// <summary>Feedback, a takeover, now and then a cancel.</summary>
        void Anything()
        {
            while (random.Next(3) == 0)
            {
                switch (random.Next(12))
                {
                    case 0 when state is Domain.Run.Active:
                        Do(new Start(++epoch, "n", Now));
                        break;
                    case 1 when random.Next(4) == 0:
                        Do(new RunCommand.Cancel(Now));
                        break;
                    default:
                        Say();
                        break;
                }
            }
        }

        void Say()
        {
            if (state is Domain.Run.Ended or Domain.Run.Active { CancelRequested: true } or Domain.Run.Active { Reply: not null })
            {
                Refuse();
                return;
            }
            var text = Content.Of($"feedback {taken.Count}");
            var decision = Domain.Run.Decide(new RunCommand.GiveFeedback(text, "user:ann", Now), state);
            if (decision.Refused is { } full)
            {
                Assert.Equal("feedback_full", full.Code);
                return;
            }
            taken.Add(text);
            Apply(decision);
        }

        void Refuse() =>
            Assert.Equal(
                state is Domain.Run.Ended or Domain.Run.Active { CancelRequested: true } or Domain.Run.Active { Reply: not null } ? "task_ended" : null,
                Domain.Run.Decide(new RunCommand.GiveFeedback(Content.Of("more"), "user:ann", Now), state).Refused?.Code);

        /// <summary>A command of a driver that another has taken over from is refused and changes nothing.</summary>
        void Do(RunCommand command) => Apply(Domain.Run.Decide(command, state));

        void Apply(Decision<RunEvent> decision) => state = decision.Events.Aggregate(state, Domain.Run.Evolve);
    }
}
