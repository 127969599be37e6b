using System.Collections.Immutable;

using Xunit;

using static Cowork.Domain.RunCommand;
using static Cowork.Domain.RunEvent;

namespace Cowork.Domain.Tests;

/// <summary>What is said to a run that works already.</summary>
public sealed class FeedbackSpec
{
    static readonly Spec<RunKey, RunCommand, RunEvent, Run> Spec = new(Run.Aggregate);

    static readonly Content Text = Content.Of("Only the north.");
    static readonly GiveFeedback Give = new(Text, "user:ann", A.Morning);
    static readonly FeedbackReceived Given = new(Text, "user:ann", A.Morning);

    static readonly RunEvent[] Asking =
        [new RunCreated(A.Run, A.Session, Content.Of("hello"), "offline", null, A.Morning), new RunStarted(1, "n1", A.Morning), new MemoryRetrieval(0, [], [], [], A.Morning)];

    static readonly RequestedCall Call = new("c1", "delete_file", Content.Of("{}"));

    static readonly RunEvent[] Suspended =
    [
        .. Asking, Responded(2) with { ToolCalls = 1 }, new ToolCall(Call.Id, Call.Name, Call.Input, A.Morning),
        new PolicyDecision(Call.Id, PolicyOutcome.Confirm, "delete", "deletes", A.Morning),
        new ApprovalRequested(A.Approval, A.Session, Call.Id, Call.Name, Call.Input, new('d', 64), "deletes", "delete", A.Later(60), A.Morning),
    ];

    static Answer Answering(int feedback, params ImmutableList<RequestedCall> calls) =>
        new("offline", calls.IsEmpty ? "stop" : "tool_calls", new('a', 64), 3, 5, 7, calls, Feedback: feedback);

    static LlmResponse Responded(int step) => new(step, 1, "offline", "stop", new('a', 64), 3, 5, 0, 7, A.Morning);

    public static TheoryData<string, RunEvent[]> Live => new()
    {
        { "queued", Asking[..1] },
        { "running", Asking },
        { "waiting for an approval", Suspended },
        { "waiting for another attempt at the model", [.. Asking, new ModelRetried(2, 2, "model_unavailable", "busy", 500, A.Morning)] },
        { "taken over", [.. Asking, new RunResumed(2, 2, "n2", A.Morning)] },
    };

    [Theory]
    [MemberData(nameof(Live))]
    public void A_run_that_has_not_ended_takes_it_and_goes_on_with_what_it_did(string state, RunEvent[] past)
    {
        Assert.NotEmpty(state);
        var before = Run.Next(Spec.Given(past).State, RunLimits.Default, A.Morning);
        Assert.Equal(before, Run.Next(Spec.Given(past).When(Give).Then(Given), RunLimits.Default, A.Morning));
    }

    public static TheoryData<string, RunEvent[]> Over => new()
    {
        { "completed", [.. Asking, Responded(2), new AssistantReply(Text, A.Morning), new RunCompleted(8, 0, 7, A.Morning)] },
        { "failed", [.. Asking, new RunFailed(new("model_failed", "no"), A.Morning)] },
        { "cancelled", [.. Asking, new RunCancelRequested(A.Morning), new RunCancelled(A.Morning)] },
        { "being cancelled", [.. Asking, new RunCancelRequested(A.Morning)] },
        { "replied", [.. Asking, Responded(2), new AssistantReply(Text, A.Morning)] },
    };

    [Theory]
    [MemberData(nameof(Over))]
    public void A_run_whose_model_is_asked_no_more_refuses_it(string state, RunEvent[] past) =>
        Assert.Equal((state, 409), (state, Spec.Given(past).When(Give).ThenRefused("task_ended").Status));

    [Fact]
    public void A_run_that_is_not_there_refuses_it() => Spec.Given().When(Give).ThenRefused("not_found");

    [Fact]
    public void What_waits_is_bounded_and_what_was_shown_waits_no_more()
    {
        RunEvent[] full = [.. Asking, .. Enumerable.Repeat(Given, Limits.FeedbackWaitingMax)];
        Assert.Equal(429, Spec.Given(full).When(Give).ThenRefused("feedback_full").Status);
        Spec.Given([.. full, Responded(2) with { Feedback = 1, Continues = true }]).When(Give).Then(Given);
    }

    [Fact]
    public void An_answer_whose_request_showed_all_of_it_is_the_reply() =>
        Spec.Given([.. Asking, Given]).When(new RecordAnswer(1, "", Text, Answering(feedback: 1), A.Morning))
            .Then(Responded(2) with { Feedback = 1 }, new AssistantReply(Text, A.Morning));

    [Fact]
    public void An_answer_that_was_under_way_when_it_came_is_not_the_reply_and_the_model_is_asked_again()
    {
        var after = Spec.Given([.. Asking, Given, Given]).When(new RecordAnswer(1, "too early", Text, Answering(feedback: 1), A.Morning))
            .Then(new OutputDelta("too early", A.Morning), Responded(2) with { Feedback = 1, Continues = true });
        Assert.Equal(new NextStep.AskModel(2), Run.Next(after, RunLimits.Default, A.Morning));
        var active = (Run.Active)after;
        Assert.Equal([Text], active.Feedback);
        Assert.Equal<ConversationEntry>([new ConversationEntry.ByUser(Text), new ConversationEntry.ByModel("too early", [])], active.Transcript, SameEntry);
    }

    [Fact]
    public void A_run_that_is_asked_again_and_has_no_rounds_left_fails_and_does_not_complete()
    {
        var state = Spec.Given([.. Asking, Given, Responded(2) with { Continues = true }]).State;
        Assert.Equal("limit_rounds", Assert.IsType<NextStep.GiveUp>(Run.Next(state, RunLimits.Default with { Rounds = 1 }, A.Morning)).Code);
    }

    [Fact]
    public void What_was_said_of_a_reply_when_the_run_was_stopped_is_kept()
    {
        var ended = Assert.IsType<Run.Ended>(Spec.Given([.. Asking, new OutputDelta("half of", A.Morning), new RunCancelRequested(A.Morning), new RunCancelled(A.Morning)]).State);
        Assert.Equal((null, "half of"), (ended.Reply, ended.Partial));
    }

    static bool SameEntry(ConversationEntry a, ConversationEntry b) => (a, b) switch
    {
        (ConversationEntry.ByModel m, ConversationEntry.ByModel n) => m.Text == n.Text && m.Calls.SequenceEqual(n.Calls),
        _ => a == b,
    };
}
