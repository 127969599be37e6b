using System.Collections.Immutable;

using Xunit;

using static Cowork.Domain.RunCommand;
using static Cowork.Domain.RunEvent;

namespace Cowork.Domain.Tests;

public sealed class RunSpec
{
    static readonly Spec<RunKey, RunCommand, RunEvent, Run> Spec = new(Run.Aggregate);

    static readonly RunCreated Created = new(A.Run, A.Session, Content.Of("hello"), "offline", null, A.Morning);
    static readonly RunStarted Started = new(1, "n1", A.Morning);
    static readonly MemoryRetrieval Remembered = new(0, [], [], [], A.Morning);
    static readonly RequestedCall Look = new("c1", "list_files", Content.Of("{}"));
    static readonly RequestedCall Read = new("c2", "read_file", Content.Of("""{"path":"a"}"""));

    static Answer Answering(params ImmutableList<RequestedCall> calls) => new("offline", calls.IsEmpty ? "stop" : "tool_calls", new('a', 64), 3, 5, 7, calls);

    static LlmResponse Responded(int step, int calls = 0, int attempt = 1) =>
        new(step, attempt, "offline", calls == 0 ? "stop" : "tool_calls", new('a', 64), 3, 5, calls, 7, A.Morning);

    static ToolCall Called(RequestedCall call) => new(call.Id, call.Name, call.Input, A.Morning);

    static PolicyDecision Allowed(RequestedCall call) => new(call.Id, PolicyOutcome.Allow, "read", "inside", A.Morning);

    static ToolResult Result(int step, RequestedCall call, int attempt = 1) => new(step, attempt, call.Id, call.Name, Content.Of("…"), false, A.Morning);

    static readonly RunEvent[] Asked = [Created, Started, Remembered, Responded(2, 2), Called(Look), Called(Read)];

    [Fact]
    public void A_run_goes_from_message_to_reply_in_this_order()
    {
        var history = new List<RunEvent>();
        Assert.IsType<NextStep.Done>(Next());
        history.Add(Created);
        Assert.IsType<NextStep.Start>(Next());
        history.Add(Started);
        Assert.Equal(new NextStep.RetrieveMemory(Content.Of("hello")), Next());
        history.Add(Remembered);
        Assert.Equal(new NextStep.AskModel(1), Next());
        history.AddRange([Responded(2, 1), Called(Look)]);
        Assert.Equal(new NextStep.EvaluatePolicy(Look), Next());
        history.Add(Allowed(Look));
        Assert.Equal(new NextStep.CallTool(Look, 3, 1), Next());
        history.Add(Result(3, Look));
        Assert.Equal(new NextStep.AskModel(2), Next());
        history.AddRange([new OutputDelta("done", A.Morning), Responded(4), new AssistantReply(Content.Of("done"), A.Morning)]);
        Assert.IsType<NextStep.Finish>(Next());
        history.Add(new RunCompleted(16, 1, 14, A.Morning));
        Assert.IsType<NextStep.Done>(Next());

        NextStep Next() => Run.Next(Spec.Given([.. history]).State, RunLimits.Default, A.Morning);
    }

    [Fact]
    public void Creating_it_twice_is_silence() => Spec.Given(Created).When(new Create(A.Run, A.Session, Content.Of("hello"), "offline", null, A.Morning)).ThenNothing();

    [Fact]
    public void Calls_are_answered_one_after_another_in_the_order_asked_for()
    {
        var state = Spec.Given([.. Asked, Allowed(Look), Result(3, Look)]).State;
        Assert.Equal(new NextStep.EvaluatePolicy(Read), Run.Next(state, RunLimits.Default, A.Morning));
        Spec.Given([.. Asked, Allowed(Look)]).When(new RecordResult(1, Read.Id, Content.Of("…"), false, A.Morning)).ThenRefused("run_fenced");
    }

    [Fact]
    public void A_denied_call_gets_a_refusal_as_its_result_and_the_run_goes_on()
    {
        var after = Spec.Given(Asked).When(new RecordPolicy(1, Look.Id, PolicyOutcome.Deny, "secrets", "no", A.Morning)).Then(
            new PolicyDecision(Look.Id, PolicyOutcome.Deny, "secrets", "no", A.Morning),
            new ToolResult(3, 1, Look.Id, Look.Name, Content.Of("Refused by policy (secrets): no"), true, A.Morning));
        Assert.Equal(new NextStep.EvaluatePolicy(Read), Run.Next(after, RunLimits.Default, A.Morning));
    }

    [Fact]
    public void A_taken_over_run_repeats_the_step_under_way_as_its_second_attempt_and_no_other()
    {
        var over = Spec.Given([.. Asked, Allowed(Look)]).When(new Start(2, "n2", A.Later(9))).Then(new RunResumed(2, 2, "n2", A.Later(9)));
        Assert.Equal(new NextStep.CallTool(Look, 3, 2), Run.Next(over, RunLimits.Default, A.Morning));
        Spec.Given([.. Asked, Allowed(Look), new RunResumed(2, 2, "n2", A.Later(9))])
            .When(new RecordResult(2, Look.Id, Content.Of("…"), false, A.Morning)).Then(Result(3, Look, attempt: 2));
        var next = Spec.Given([.. Asked, Allowed(Look), new RunResumed(2, 2, "n2", A.Later(9)), Result(3, Look, 2), Allowed(Read)]).State;
        Assert.Equal(new NextStep.CallTool(Read, 4, 1), Run.Next(next, RunLimits.Default, A.Morning));
    }

    [Fact]
    public void Text_streamed_before_a_takeover_is_no_part_of_the_answer()
    {
        var state = (Run.Active)Spec.Given(
            Created, Started, Remembered, new OutputDelta("lost", A.Morning), new RunResumed(2, 2, "n2", A.Morning),
            new OutputDelta("kept", A.Morning), Responded(2, 1, 2), Called(Look)).State;
        Assert.Equal("kept", ((ConversationEntry.ByModel)state.Transcript[0]).Text);
    }

    [Fact]
    public void The_tools_that_it_offers_its_model_stay_until_others_are_offered_and_through_a_takeover()
    {
        var offered = new ToolsOffered(Content.Of("[1]"), 1, A.Morning, [new(new("01kdvkjr000000000000000031"), null, "away")]);
        Spec.Given(Created, Started, Remembered)
            .When(new OfferTools(1, Content.Of("[1]"), 1, offered.LeftOut, A.Morning))
            .Then(offered);
        RunEvent[] asked = [Created, Started, Remembered, offered];
        Assert.Equal(new NextStep.AskModel(1), Run.Next(Spec.Given(asked).State, RunLimits.Default, A.Morning));
        Assert.Equal((1, Content.Of("[1]")), Told(asked));
        Assert.Equal((2, Content.Of("[1]")), Told([.. asked, new RunResumed(2, 2, "n2", A.Morning)]));
        Assert.Equal((1, Content.Of("[1]")), Told([.. asked, Responded(2, 1), Called(Look), Allowed(Look), Result(3, Look)]));
        Assert.Equal((1, Content.Of("[]")), Told([.. asked, Responded(2, 1), Called(Look), Allowed(Look), Result(3, Look), new ToolsOffered(Content.Of("[]"), 0, A.Morning)]));

        (int, Content?) Told(RunEvent[] events) => Spec.Given(events).State is Run.Active active ? (active.StepAttempt, active.Offered) : default;
    }

    [Fact]
    public void Text_streamed_before_the_model_failed_is_no_part_of_the_answer()
    {
        RunEvent[] cut = [Created, Started, Remembered, new OutputDelta("lost", A.Morning)];
        var retried = new ModelRetried(2, 2, "model_failed", "cut", 500, A.Morning);
        Spec.Given(cut).When(new RetryModel(1, "model_failed", "cut", TimeSpan.FromMilliseconds(500), A.Morning)).Then(retried);
        Assert.Equal(new NextStep.AskModel(1), Run.Next(Spec.Given([.. cut, retried]).State, RunLimits.Default, A.Morning));
        Spec.Given([.. cut, retried]).When(new RecordAnswer(1, "kept", Content.Of("kept"), Answering(), A.Morning))
            .Then(new OutputDelta("kept", A.Morning), Responded(2, attempt: 2), new AssistantReply(Content.Of("kept"), A.Morning));
        var asked = (Run.Active)Spec.Given([.. cut, retried, new OutputDelta("kept", A.Morning), Responded(2, 2, 1), Called(Look)]).State;
        Assert.Equal("kept", ((ConversationEntry.ByModel)asked.Transcript[0]).Text);
        Assert.Equal(1, asked.StepAttempt);
    }

    public static TheoryData<RunCommand> OfTheDriver =>
    [
        new RecordMemory(1, [], [], A.Morning),
        new OfferTools(1, Content.Of("[]"), 0, null, A.Morning),
        new RecordText(1, "x", A.Morning),
        new RetryModel(1, "model_failed", "x", TimeSpan.Zero, A.Morning),
        new RecordAnswer(1, "x", Content.Of("x"), Answering(), A.Morning),
        new RecordPolicy(1, "c1", PolicyOutcome.Allow, "r", "", A.Morning),
        new RecordResult(1, "c1", Content.Of("x"), false, A.Morning),
        new Complete(1, A.Morning),
        new Fail(1, "model_failed", "x", A.Morning),
        new ConfirmCancel(1, A.Morning),
        new Start(1, "n1", A.Morning),
    ];

    [Theory]
    [MemberData(nameof(OfTheDriver))]
    public void A_driver_whose_run_was_taken_over_can_write_nothing(RunCommand stale) =>
        Spec.Given([.. Asked, new RunResumed(2, 2, "n2", A.Morning)]).When(stale).ThenRefused("run_fenced");

    [Theory]
    [MemberData(nameof(OfTheDriver))]
    public void An_ended_run_stays_as_it_is(RunCommand late) =>
        Spec.Given(Created, Started, new RunFailed(new("model_failed", "x"), A.Morning)).When(late).ThenRefused("run_fenced");

    [Fact]
    public void The_same_driver_beginning_again_is_silence() => Spec.Given(Created, Started).When(new Start(1, "n1", A.Morning)).ThenNothing();

    [Fact]
    public void An_answer_without_calls_is_the_reply() =>
        Spec.Given(Created, Started, Remembered, new OutputDelta("he", A.Morning))
            .When(new RecordAnswer(1, "llo", Content.Of("hello"), Answering(), A.Morning))
            .Then(new OutputDelta("llo", A.Morning), Responded(2), new AssistantReply(Content.Of("hello"), A.Morning));

    [Fact]
    public void A_long_tail_is_cut_between_characters()
    {
        var tail = new string('x', Limits.DeltaCharsMax - 1) + "😀";
        var decision = Run.Decide(new RecordAnswer(1, tail, null, Answering(Look), A.Morning), Spec.Given(Created, Started, Remembered).State);
        var pieces = decision.Events.OfType<OutputDelta>().Select(d => d.Text).ToList();
        Assert.Equal(2, pieces.Count);
        Assert.Equal(tail, string.Concat(pieces));
        Assert.All(pieces, piece => Assert.True(StorableText.IsStorable(piece)));
    }

    [Fact]
    public void Cancelling_a_waiting_run_ends_it_at_once() =>
        Spec.Given(Created).When(new RunCommand.Cancel(A.Morning)).Then(new RunCancelRequested(A.Morning), new RunCancelled(A.Morning));

    [Fact]
    public void Cancelling_a_running_run_asks_its_driver_to_stop()
    {
        var asked = Spec.Given(Asked).When(new RunCommand.Cancel(A.Morning)).Then(new RunCancelRequested(A.Morning));
        Assert.IsType<NextStep.ConfirmCancel>(Run.Next(asked, RunLimits.Default, A.Morning));
        Spec.Given([.. Asked, new RunCancelRequested(A.Morning)]).When(new RunCommand.Cancel(A.Morning)).ThenNothing();
        Spec.Given([.. Asked, new RunCancelRequested(A.Morning)]).When(new ConfirmCancel(1, A.Morning)).Then(new RunCancelled(A.Morning));
    }

    [Fact]
    public void A_run_that_is_being_stopped_was_cancelled_whatever_goes_wrong_meanwhile() =>
        Spec.Given([.. Asked, new RunCancelRequested(A.Morning)]).When(new Fail(1, "model_failed", "cut", A.Later(1))).Then(new RunCancelled(A.Later(1)));

    [Fact]
    public void Cancelling_an_ended_run_changes_nothing() =>
        Spec.Given(Created, Started, new RunCancelRequested(A.Morning), new RunCancelled(A.Morning)).When(new RunCommand.Cancel(A.Morning)).ThenNothing();

    [Theory]
    [InlineData(8, 2, 1, 3600, 0, "ok")]               // everything just within its limit
    [InlineData(7, 2, 1, 3600, 0, "limit_tokens")]     // the round used 8
    [InlineData(8, 1, 2, 3600, 0, "limit_tool_calls")] // it asked for 2
    [InlineData(8, 2, 1, 3600, 3601, "limit_time")]
    public void A_run_past_a_limit_fails_by_its_name(long tokens, int calls, int rounds, int seconds, int passed, string expected)
    {
        var state = Spec.Given(Asked).State;
        var next = Run.Next(state, new(tokens, calls, rounds, TimeSpan.FromSeconds(seconds)), A.Later(passed));
        Assert.Equal(expected, next is NextStep.GiveUp why ? why.Code : "ok");
    }

    [Fact]
    public void A_run_whose_last_answer_goes_past_its_tokens_does_not_complete_in_silence()
    {
        RunEvent[] replied = [Created, Started, Remembered, Responded(2), new AssistantReply(Content.Of("x"), A.Morning)];
        Assert.IsType<NextStep.Finish>(Run.Next(Spec.Given(replied).State, RunLimits.Default with { Tokens = 8 }, A.Morning));
        Assert.Equal("limit_tokens", ((NextStep.GiveUp)Run.Next(Spec.Given(replied).State, RunLimits.Default with { Tokens = 7 }, A.Morning)).Code);
    }

    [Fact]
    public void A_run_out_of_rounds_fails_only_when_it_needs_another()
    {
        RunEvent[] answered = [.. Asked, Allowed(Look), Result(3, Look), Allowed(Read), Result(4, Read)];
        var limits = RunLimits.Default with { Rounds = 1 };
        Assert.Equal("limit_rounds", ((NextStep.GiveUp)Run.Next(Spec.Given(answered).State, limits, A.Morning)).Code);
        RunEvent[] replied = [Created, Started, Remembered, Responded(2), new AssistantReply(Content.Of("x"), A.Morning)];
        Assert.IsType<NextStep.Finish>(Run.Next(Spec.Given(replied).State, limits, A.Morning));
    }

    [Fact]
    public void What_was_used_is_summed_up()
    {
        var state = (Run.Active)Spec.Given(Asked).State;
        Assert.Equal(new RunUsage(8, 2, 1, 7), state.Usage);
        Spec.Given(Created, Started, Remembered, Responded(2), new AssistantReply(Content.Of("x"), A.Morning))
            .When(new Complete(1, A.Later(1))).Then(new RunCompleted(8, 0, 7, A.Later(1)));
    }

    static readonly string Digest = new('d', 64);

    static readonly DateTimeOffset Tomorrow = A.Morning.AddHours(24);

    static readonly RequestApproval Ask = new(1, Look.Id, A.Approval, "create_inside", "A new file.", Digest, Tomorrow, A.Morning);

    static readonly ApprovalRequested Pending =
        new(A.Approval, A.Session, Look.Id, Look.Name, Look.Input, Digest, "A new file.", "create_inside", Tomorrow, A.Morning);

    static readonly RunEvent[] Waiting = [.. Asked, new PolicyDecision(Look.Id, PolicyOutcome.Confirm, "create_inside", "A new file.", A.Morning), Pending];

    static readonly ApprovalDecided Approved = new(A.Approval, ApprovalOutcome.Approved, "user:bob", null, A.Later(60));

    static DecideApproval Decide(ApprovalOutcome outcome, DateTimeOffset now, string? note = null) =>
        new(A.Approval, outcome, outcome == ApprovalOutcome.Expired ? "system" : "user:bob", note, now);

    [Fact]
    public void A_call_to_be_confirmed_suspends_the_run()
    {
        var after = Spec.Given(Asked).When(Ask).Then(Waiting[^2], Pending);
        Assert.Equal(new NextStep.WaitApproval(A.Approval), Run.Next(after, RunLimits.Default, A.Later(10_000)));
    }

    [Theory]
    [MemberData(nameof(OfTheDriver))]
    public void A_suspended_run_is_driven_by_nobody(RunCommand stale)
    {
        Spec.Given(Waiting).When(stale).ThenRefused("run_fenced");
        Spec.Given([.. Waiting, Approved]).When(stale).ThenRefused("run_fenced");
    }

    [Fact]
    public void An_approval_resumes_the_very_call_as_its_first_attempt()
    {
        var approved = Spec.Given(Waiting).When(Decide(ApprovalOutcome.Approved, A.Later(60))).Then(Approved);
        Assert.IsType<NextStep.Start>(Run.Next(approved, RunLimits.Default, A.Later(60)));
        var resumed = Spec.Given([.. Waiting, Approved]).When(new Start(2, "n2", A.Later(61))).Then(new RunResumed(1, 2, "n2", A.Later(61)));
        Assert.Equal(
            new NextStep.CallTool(Look, 3, 1, new GrantedApproval(A.Approval, "create_inside", Digest)), Run.Next(resumed, RunLimits.Default, A.Later(61)));
    }

    [Fact]
    public void An_approval_is_for_the_paths_that_were_asked_about()
    {
        ImmutableList<string> paths = ["data/a", "data/b"];
        Spec.Given(Asked).When(Ask with { Paths = paths }).Then(Waiting[^2], Pending with { Paths = paths });
        var state = Spec.Given([.. Waiting[..^1], Pending with { Paths = paths }, Approved, new RunResumed(1, 2, "n2", A.Later(61))]).State;
        Assert.Equal(paths, ((NextStep.CallTool)Run.Next(state, RunLimits.Default, A.Later(61))).Granted!.Paths);
    }

    [Fact]
    public void A_driver_lost_after_the_approval_is_followed_by_a_second_attempt_at_the_approved_call()
    {
        RunEvent[] lost = [.. Waiting, Approved, new RunResumed(1, 2, "n2", A.Later(61))];
        var state = Spec.Given(lost).When(new Start(3, "n3", A.Later(70))).Then(new RunResumed(2, 3, "n3", A.Later(70)));
        Assert.Equal(new NextStep.CallTool(Look, 3, 2, new GrantedApproval(A.Approval, "create_inside", Digest)), Run.Next(state, RunLimits.Default, A.Later(70)));
    }

    [Fact]
    public void An_approval_is_for_one_call()
    {
        var state = Spec.Given([.. Waiting, Approved, new RunResumed(1, 2, "n2", A.Morning), Result(3, Look)]).State;
        Assert.Equal(new NextStep.EvaluatePolicy(Read), Run.Next(state, RunLimits.Default, A.Morning));
        Assert.Null(((Run.Active)state).Granted);
    }

    [Theory]
    [InlineData(ApprovalOutcome.Rejected, 60, "wrong file", "Refused by user:bob: wrong file")]
    [InlineData(ApprovalOutcome.Rejected, 60, null, "Refused by user:bob.")]
    [InlineData(ApprovalOutcome.Expired, 86_400, null, "Refused: nobody approved this call in time.")]
    public void A_rejection_is_the_calls_result_and_the_run_goes_on(ApprovalOutcome outcome, int seconds, string? note, string told)
    {
        var decide = Decide(outcome, A.Later(seconds), note);
        Spec.Given(Waiting).When(decide).Then(
            new ApprovalDecided(A.Approval, outcome, decide.By, note, decide.Now),
            new ToolResult(3, 1, Look.Id, Look.Name, Content.Of(told), true, decide.Now));
        var state = Spec.Given([.. Waiting, new ApprovalDecided(A.Approval, outcome, decide.By, note, decide.Now), Result(3, Look)])
            .When(new Start(2, "n2", decide.Now)).ThenSome();
        Assert.Equal(new NextStep.EvaluatePolicy(Read), Run.Next(state, RunLimits.Default, decide.Now));
    }

    [Fact]
    public void The_first_decision_holds()
    {
        var decided = Spec.Given([.. Waiting, Approved]);
        decided.When(Decide(ApprovalOutcome.Approved, A.Later(61))).ThenNothing();
        decided.When(Decide(ApprovalOutcome.Rejected, A.Later(61))).ThenRefused("approval_decided");
        decided.When(Decide(ApprovalOutcome.Expired, Tomorrow)).ThenRefused("approval_decided");
        var ended = Spec.Given([.. Waiting, Approved, new RunResumed(1, 2, "n2", A.Morning), new RunFailed(new("model_failed", "x"), A.Morning)]);
        ended.When(Decide(ApprovalOutcome.Approved, A.Later(62))).ThenNothing();
        ended.When(Decide(ApprovalOutcome.Rejected, A.Later(62))).ThenRefused("approval_decided");
        Spec.Given(Asked).When(Decide(ApprovalOutcome.Approved, A.Later(62))).ThenRefused("not_found");
    }

    [Fact]
    public void Before_its_time_an_approval_does_not_expire_and_after_it_nobody_can_give_it()
    {
        Spec.Given(Waiting).When(Decide(ApprovalOutcome.Expired, Tomorrow.AddSeconds(-1))).ThenNothing();
        Spec.Given(Waiting).When(Decide(ApprovalOutcome.Approved, Tomorrow)).ThenRefused("approval_decided");
        Spec.Given(Waiting).When(Decide(ApprovalOutcome.Rejected, Tomorrow)).ThenRefused("approval_decided");
    }

    [Fact]
    public void Cancelling_a_suspended_run_ends_it_at_once()
    {
        Spec.Given(Waiting).When(new RunCommand.Cancel(A.Later(5))).Then(
            new RunCancelRequested(A.Later(5)),
            new ApprovalDecided(A.Approval, ApprovalOutcome.Rejected, "system", "The run was cancelled.", A.Later(5)),
            new RunCancelled(A.Later(5)));
        Spec.Given([.. Waiting, Approved]).When(new RunCommand.Cancel(A.Later(61))).Then(new RunCancelRequested(A.Later(61)), new RunCancelled(A.Later(61)));
    }

    [Fact]
    public void Waiting_for_an_approval_is_no_time_of_the_run()
    {
        var late = Tomorrow.AddSeconds(-1);
        var state = Spec.Given([.. Waiting, Approved with { At = late }, new RunResumed(1, 2, "n2", late)]).State;
        Assert.IsType<NextStep.CallTool>(Run.Next(state, RunLimits.Default, late.AddMinutes(59)));
        Assert.Equal("limit_time", ((NextStep.GiveUp)Run.Next(state, RunLimits.Default, late.AddMinutes(61))).Code);
    }
}
