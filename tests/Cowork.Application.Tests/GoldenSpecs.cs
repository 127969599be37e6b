using System.Text;
using Cowork.Application.Storage;
using Cowork.Domain;
using Xunit;
using static Cowork.Domain.ActiveGroupsEvent;
using static Cowork.Domain.ApiTokenEvent;
using static Cowork.Domain.AppKeyEvent;
using static Cowork.Domain.ArtifactEvent;
using static Cowork.Domain.AuditHeadsEvent;
using static Cowork.Domain.AuthorizationRequestEvent;
using static Cowork.Domain.BudgetEvent;
using static Cowork.Domain.ConnectionEvent;
using static Cowork.Domain.ConnectionRefreshEvent;
using static Cowork.Domain.DataKeysEvent;
using static Cowork.Domain.DataSubjectEvent;
using static Cowork.Domain.GroupEvent;
using static Cowork.Domain.GroupSessionEvent;
using static Cowork.Domain.IdempotencyKeyEvent;
using static Cowork.Domain.MasterKeysEvent;
using static Cowork.Domain.MemoryEvent;
using static Cowork.Domain.OneUseEvent;
using static Cowork.Domain.OperatorsEvent;
using static Cowork.Domain.ProjectEvent;
using static Cowork.Domain.RunEvent;
using static Cowork.Domain.ScheduleEvent;
using static Cowork.Domain.ScratchpadEvent;
using static Cowork.Domain.SecurityEvent;
using static Cowork.Domain.SessionEvent;
using static Cowork.Domain.SigningKeysEvent;
using static Cowork.Domain.SkillEvent;
using static Cowork.Domain.UniqueNameEvent;
using static Cowork.Domain.UploadedFileEvent;
using static Cowork.Domain.WorkEvent;

namespace Cowork.Application.Tests;

/// <summary>
/// What lies in databases out there: golden/NAME.json holds the stored form of one sample of each event. A change that turns one of these red
/// is a change of the format: give the event a new name (.v2) and leave the old one as it is.
/// </summary>
public sealed class GoldenSpecs
{
    const string Key = "01k9golden0000000000000000";
    static readonly CellKey Cell = CellKey.FromId($"cell_{Key}");
    static readonly DateTimeOffset At = new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero);
    static readonly Content Text = Content.Of("Was kostet \"das\"? <5 € & mehr\n");
    static readonly Content Blob = new Content.Blob(new string('a', 64), 70_000);
    static readonly Content Sealed = new Content.Sealed("A256GCM", "user:ann", "AAECAw==");

    internal static readonly Event[] Samples =
    [
        new SessionCreated(SessionKey.FromId($"sess_{Key}"), "/data/workspaces/w", """{"b":1,"a":[1.50]}""", """{"role":"clerk"}""", At),
        new SessionChanged(Content.Of("Q2 analysis"), Text, Archived: true, At),
        new SessionDeleted(At),
        new SessionHeld("lawsuit 7", At),
        new SessionReleased(At),
        new SessionExpired(new(12, 11, new string('d', 64), 90), At),
        new SessionRemoved(11, 4_096, 2, At),
        new SecurityExpired(new(12, 12, new string('d', 64), 365), At),
        new SecurityRemoved(12, At),
        new HostEvent.HostsExpired(new(2, 2, new string('d', 64), 365), At),
        new HostEvent.HostsRemoved(2, At),
        new RetentionEvent.RetentionSet(90, 365, "policy 4", At),
        new RunQueued(RunKey.FromId($"run_{Key}"), 2, At),
        new RunDequeued(RunKey.FromId($"run_{Key}"), RunKey.FromId("run_01k9golden0000000000000001"), At),
        new RunCreated(RunKey.FromId($"run_{Key}"), SessionKey.FromId($"sess_{Key}"), Text, "offline", "key-1", At),
        new RunStarted(1, "node-1", At),
        new RunResumed(2, 7, "node-2", At),
        new MemoryRetrieval(1, [new("learning", MemoryKey.FromId($"mem_{Key}"))], [Text], [RunKey.FromId($"run_{Key}")], At),
        new ToolsOffered(Text, 1, At, [new(ConnectionKey.FromId($"conn_{Key}"), "drop", "Its input schema is no object."), new(ConnectionKey.FromId($"conn_{Key}"), null, "Away.")]),
        new OutputDelta("Guten ", At),
        new ThinkingDelta("The file first.", At),
        new ModelRetried(3, 2, "model_unavailable", "The model answered 429.", 7_000, At),
        new LlmResponse(3, 1, "offline", "tool_calls", new string('b', 64), 120, 15, 1, 2_500, At),
        new ToolCall("call_1", "read_file", Content.Of("""{"path":"a.txt"}"""), At),
        new PolicyDecision("call_1", PolicyOutcome.Allow, "read-inside", "inside the grants", At),
        new ApprovalRequested(
            ApprovalKey.FromId($"appr_{Key}"), SessionKey.FromId($"sess_{Key}"), "call_1", "write_file", Content.Of("""{"path":"report.md","content":"x"}"""), new string('e', 64), "A new file. (report.md)",
            "create_inside", At.AddHours(24), At),
        new ApprovalDecided(ApprovalKey.FromId($"appr_{Key}"), ApprovalOutcome.Rejected, "user:bob", "not now", At),
        new ApprovalServed(
            "call_1", "write_file", new string('e', 64), ApprovalOutcome.Rejected, "user:bob", "not now", At, RunKey.FromId($"run_{Key}"), ApprovalKey.FromId($"appr_{Key}")),
        new ToolResult(4, 2, "call_1", "read_file", Blob, IsError: true, At),
        new AssistantReply(Sealed, At),
        new FeedbackReceived(Text, "user:ann", At),
        new RunCancelRequested(At),
        new RunCompleted(135, 1, 2_500, At),
        new RunFailed(new("limit_tokens", "The run may use 100000 tokens."), At),
        new RunCancelled(At),
        new ProjectCreated(
            ProjectKey.FromId($"proj_{Key}"), new("Sales Automation", "Weekly reporting flows", ["conn_001"], [SkillKey.FromId($"skill_{Key}")], "offline"), At),
        new ProjectChanged(new("Sales", null, [], [], null), At),
        new ProjectDeleted(At),
        new GroupCreated(GroupKey.FromId($"grp_{Key}"), "acme", Content.Of("Q2 report"), IsPrivate: true, ["assistant", "critic"], "ann", At),
        new GroupMemberAdded("bob", GroupRole.Member, At),
        new GroupMemberRemoved("bob", At),
        new GroupArchiveRequested($"groups/grp_{Key}/archives/20260101T090000000Z.json", Text, "ann", At),
        new GroupArchived($"groups/grp_{Key}/archives/20260101T090000000Z.json", new string('a', 64), 4_711, At),
        new GroupMessageStored(Text, "ann", "m-1", [new("critic", RunKey.FromId($"run_{Key}"))], At),
        new GroupAgentAnswered(RunKey.FromId($"run_{Key}"), "critic", "Critic", "ann", "m-1", At),
        new GroupCallsStopped(RunKey.FromId($"run_{Key}"), "critic", "m-1", ["assistant"], StoppedCalls.QueueFull, 3, At),
        new ActiveGroupOpened("acme", GroupKey.FromId($"grp_{Key}"), At),
        new ActiveGroupClosed(GroupKey.FromId($"grp_{Key}"), At),
        new WorkCreated(WorkKey.FromId($"work_{Key}"), "user:ann", "listings", new("Elm Street", Content.Of("""{"rooms":3}"""), "3 rooms", ["spring"]), Blob, At),
        new WorkChanged(new("Elm Street 5", null, null, null), At, Content.Of("""{"rooms":4.0}""")),
        new WorkDeleted(At),
        new ConnectionCreated(ConnectionKey.FromId($"conn_{Key}"), "postgres", "prod-db", At, new(Key, "AAECAw==")),
        new ConnectionRenamed("warehouse", At),
        new ConnectionSecretReplaced(new(Key, "AAECAw=="), At),
        new ConnectionProbed(new("The server refused the user or the password."), At),
        new ConnectionReencrypted(new(Key, "BAUGBw=="), At),
        new ConnectionDeleted(At),
        new AuthorizationRequested(
            new(
                ConnectionKey.FromId($"conn_{Key}"), "github", "GitHub", new(Key, "AAECAw=="), "https://cowork.example/api/v1/connectors/oauth/callback", "user:ann",
                At.AddMinutes(10)),
            At),
        new AuthorizationAnswered("access_denied", At),
        new ConnectionRefreshStarted(3, Key, At.AddSeconds(45), At),
        new ConnectionRefreshFailed(3, true, At),
        new HeadSigned(12_345, new('a', 64), At, "kid-1", "eyJhbGciOiJFUzI1NiJ9.e30.c2ln", At),
        new DataKeyMade(new(Key, "secrets", new("0123456789abcdef", "AAECAw==")), At),
        new SubjectKeyMade("user-17", Key, new('b', 64), At),
        new SubjectHeld("user-17", SessionKey.FromId($"sess_{Key}"), At),
        new SubjectReleased("user-17", SessionKey.FromId($"sess_{Key}"), At),
        new SubjectErased("user-17", "user:ann", At),
        new SubjectErasureCompleted("user-17", 12, 3, At),
        new DataKeyRewrapped(Key, new("fedcba9876543210", "BAUGBw=="), At),
        new BudgetLimitsSet(10_000_000, 8_000_000, At),
        new BudgetReserved(RunKey.FromId($"run_{Key}"), 2, 1, "gpt-4o", 1_200, 4_096, 43_960, At),
        new BudgetSettled(RunKey.FromId($"run_{Key}"), null, 1, 43_960, 43_960, At, Assumed: true),
        new BudgetSoftLimitReached(8_000_000, 8_004_000, At),
        new GroupSessionOpened(GroupKey.FromId($"grp_{Key}"), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U", "ann", "support-desk@acme", At.AddHours(1), At),
        new GroupCleanedUp(GroupKey.FromId($"grp_{Key}"), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U", "idle", At),
        new AppKeyRegistered(
            "support-desk", "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",
            new("gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0", "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps"), At, [new("user:bob")]),
        new AppKeyRevoked(At),
        new TokenUsed("support-desk@acme", "b7c1", At.AddSeconds(60), At),
        new SigningKeyMade(
            new(
                "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U", "orchestrator",
                new("gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0", "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps"), new("0123456789abcdef", "AAECAw==")),
            At),
        new SigningKeyRewrapped("oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U", new("fedcba9876543210", "BAUGBw=="), At),
        new MasterKeyAdopted("0123456789abcdef", At),
        new KeyTenantRegistered("acme", At),
        new FileUploaded(
            FileKey.FromId($"file_{Key}"), "Q2-Bericht \u20ac.pdf", "application/pdf", "application/pdf", new string('f', 64), 204_800, ProjectKey.FromId($"proj_{Key}"),
            SessionKey.FromId($"sess_{Key}"), At),
        new FileTextExtracted("application/pdf", new string('a', 64), 16_777_216, IsCut: true, At),
        new FileExtractionFailed("application/zip", "compression_bomb", "The document unpacks to too much.", At),
        new FileDeleted(At),
        new ArtifactDiscovered(
            ArtifactKey.FromId($"art_{Key}"), SessionKey.FromId($"sess_{Key}"), RunKey.FromId($"run_{Key}"), ".anton/output/report.md", new string('f', 64), 70_000, 2, "text/markdown", At),
        new ScratchpadCreated(
            ScratchpadKey.FromId($"sp_{Key}"), SessionKey.FromId($"sess_{Key}"), Content.Of("Sales"),
            [new(Cell, "markdown", Text, null), new(Cell, "code", Blob, "python", new(null, 5, Outputs: Text, ExecutionCount: 2))], At, ScratchpadKey.FromId($"sp_{Key}")),
        new ScratchpadRenamed(Text, At),
        new ScratchpadSaved(new(".anton/output/scratchpads/a.ipynb", new string('a', 64), ".anton/output/scratchpads/a.html", new string('b', 64)), At),
        new ScratchpadDeleted(At),
        new CellAppended(new(Cell, "code", Text, "python"), 3, At),
        new CellEdited(Cell, Text, At),
        new CellMoved(Cell, 2, At),
        new CellDeleted(Cell, At),
        new CellQueued(Cell, 7, Text, "python", 1, At, RunKey.FromId($"run_{Key}")),
        new CellStarted(Cell, 7, 2, 41, "python3", At),
        new CellOutput(Cell, 7, Content.Of("""[{"output_type":"stream","name":"stdout","text":"2\n"}]"""), At),
        new CellDisplaysUpdated(Cell, 8, Blob, At),
        new CellCompleted(
            Cell, 7,
            new(
                new("limit_time", "It took more than 120 s."), 120_004, Truncated: true, Blob, 3, new("python3", "python", "3.11.2", ["numpy==1.24.2", "pandas==1.5.3"]),
                [new(".anton/output/a.png", new string('c', 64), 12_345)]),
            IsStateLost: true, At),
        new CellInterruptRequested(Cell, 7, At),
        new KernelStarted(41, "node-1", "python3", "python", At),
        new KernelRestartRequested(At),
        new KernelRestarted(At),
        new KernelLost("host_gone", 42, At),
        new KernelStopped("idle", At),
        new MemoryWritten(MemoryKey.FromId($"mem_{Key}"), "session_summary", Text, SessionKey.FromId($"sess_{Key}"), RunKey.FromId($"run_{Key}"), At),
        new MemoryCreated(MemoryKey.FromId($"mem_{Key}"), Text, ProjectKey.FromId($"proj_{Key}"), At),
        new MemoryChanged(Text, At),
        new MemoryDeleted(At),
        new SkillCreated(
            SkillKey.FromId($"skill_{Key}"), new("cohort_churn", "Analyze churn", """{"team":"a"}""", Content.Of("Show churn by {dimension}."), ["dimension"], null, []), At),
        new SkillVersionAdded(2, new("weekly-report", "", "{}", null, [], Text, ["read_file", "recall"]), At),
        new SkillDeleted(At),
        new NameClaimed("skill", "cohort_churn", $"skill_{Key}", At),
        new NameReleased($"skill_{Key}", At),
        new ScheduleCreated(
            ScheduleKey.FromId($"sched_{Key}"), "daily-kpi", new(SessionKey.FromId($"sess_{Key}"), SkillKey.FromId($"skill_{Key}"), 2, Content.Of("""{"period":"Q1"}""")), new Timing.Interval(3_600, At), Misfire.One, Overlap.Skip,
            "user:ann", At, At),
        new ScheduleChanged(
            new(null, null, null, null, Text, ProjectKey.FromId($"proj_{Key}")), new Timing.Times("0 9 * * MON", "Europe/Berlin"), Misfire.None, Overlap.Queue, At.AddDays(4), At),
        new SchedulePaused(At),
        new ScheduleResumed(new Timing.Times("0 9 * * MON", "Europe/Berlin"), At.AddDays(4), At),
        new ScheduleTriggered(ScheduleKey.FromId($"sched_{Key}"), At, SkillKey.FromId($"skill_{Key}"), 2, RunKey.FromId($"run_{Key}"), TriggerMode.Automatic, CaughtUp: true, At.AddHours(1), At),
        new ScheduleSkipped(ScheduleKey.FromId($"sched_{Key}"), At, "missed", "Nobody was there.", At.AddHours(3), At, At.AddHours(2), 3),
        new ScheduleReplanned(ScheduleKey.FromId($"sched_{Key}"), At.AddHours(2), "clock_set_back", new Timing.Interval(3_600, At.AddHours(1)), At.AddHours(1), At),
        new ScheduleDeleted(At),
        new IdempotencyKeyClaimedV1("user:ann POST /sessions", "key-1", new string('c', 64), null, new(201, $"/sessions/sess_{Key}", Text), At),
        new IdempotencyKeyClaimed("user:ann POST /skills/versions", "key-1", new string('c', 64), null, new($"skill-{Key}", 1, 2), At),
        new TokenIssued(TokenKey.FromId($"tok_{Key}"), "laptop", "user:ann", ["member", "auditor"], new string('d', 64), At),
        new TokenRotated(new string('e', 64), At.AddHours(1), At.AddDays(90), [new("user:ann"), new("user:root", Operator: true)], At),
        new TokenRolesChanged(["member"], At),
        new TokenRevoked(At),
        new OperatorAdded(TokenKey.FromId($"tok_{Key}"), At),
        new OperatorRemoved(TokenKey.FromId($"tok_{Key}"), At),
        new AccessGranted("user:ann", TokenKey.FromId($"tok_{Key}"), "10.0.0.1", ["member"], 12, At, At.AddMinutes(1), At),
        new AccessRefused("wrong_secret", TokenKey.FromId($"tok_{Key}"), "2001:db8::1", 3, At, At.AddMinutes(1), At),
        new AccessDenied("user:ann", null, "10.0.0.1", ["member"], "role_missing", "GET /tokens", 1, At, At, At),
        new DataExported("user:ann", TokenKey.FromId($"tok_{Key}"), "10.0.0.1", ["auditor"], "trace", $"run_{Key}", 2, At, At.AddMinutes(1), At),
        new HostEvent.HostStarted("n-1", "1.0.0+0f", new string('a', 64), [new("Cowork:Auth:Mode", "token")], At),
        new HostEvent.HostStopped("n-1", At),
    ];

    public static TheoryData<string> Names => [.. EventTypes.ByName.Keys.Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Names))]
    public void An_event_is_written_as_its_golden_file_says(string name)
    {
        var written = Encoding.UTF8.GetString(EventJson.Write(Sample(name)));
        var file = GoldenFile(name);
        Assert.True(File.Exists(file), $"There is no golden/{name}.json. Write one with this line:\n{written}");
        Assert.Equal(File.ReadAllText(file).TrimEnd('\n'), written);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void A_golden_file_is_read_as_the_event_that_it_was(string name)
    {
        var stored = File.ReadAllBytes(GoldenFile(name)).AsSpan().TrimEnd("\n"u8);
        var type = EventTypes.ByName[name];
        var read = EventJson.Read(name, stored, At);
        Assert.IsType(type.Type, read);
        Assert.Equal(At, read.At);
        Assert.Equal(Encoding.UTF8.GetString(stored), Encoding.UTF8.GetString(EventJson.Write(EventJson.Read(type with { Upcast = null }, stored, At))));
        if (type.Upcast is { } upcast)
        {
            Assert.Equal(upcast(Sample(name)), read);
        }
    }

    [Fact]
    public void What_was_added_to_an_event_is_left_out_where_it_is_not_known()
    {
        var cached = ((LlmResponse)Sample("llm_response.v1")) with { CachedTokens = 100 };
        var golden = File.ReadAllText(GoldenFile("llm_response.v1")).TrimEnd('\n');
        Assert.Equal(golden.Replace("\"cost_micro", "\"cached_tokens\":100,\"cost_micro", StringComparison.Ordinal), Encoding.UTF8.GetString(EventJson.Write(cached)));

        var thought = ((LlmResponse)Sample("llm_response.v1")) with { UsageEstimated = true, Reasoning = Text };
        var writtenThought = Encoding.UTF8.GetString(EventJson.Write(thought));
        Assert.StartsWith($"{golden.Split(",\"request")[0]},\"reasoning\":\"Was kostet", writtenThought, StringComparison.Ordinal);
        Assert.EndsWith(""","usage_estimated":true}""", writtenThought, StringComparison.Ordinal);
        Assert.Equal(thought, EventJson.Read("llm_response.v1", EventJson.Write(thought), At));

        var steered = ((LlmResponse)Sample("llm_response.v1")) with { Feedback = 2, Continues = true };
        Assert.Equal(
            golden.Replace("\"cost_micro", "\"continues\":true,\"cost_micro", StringComparison.Ordinal).Replace("\"input", "\"feedback\":2,\"input", StringComparison.Ordinal),
            Encoding.UTF8.GetString(EventJson.Write(steered)));

        var timed = ((LlmResponse)Sample("llm_response.v1")) with { AskedAt = At.AddMilliseconds(1), FirstTokenAt = At.AddMilliseconds(20) };
        Assert.StartsWith("{\"asked_at\":\"", Encoding.UTF8.GetString(EventJson.Write(timed)), StringComparison.Ordinal);
        Assert.Contains("Z\",\"attempt\":1,\"cost_micro_usd\":2500,\"first_token_at\":\"", Encoding.UTF8.GetString(EventJson.Write(timed)), StringComparison.Ordinal);
        Assert.Equal(timed, EventJson.Read("llm_response.v1", EventJson.Write(timed), At));
        var made = ((ToolResult)Sample("tool_result.v1")) with { StartedAt = At.AddMilliseconds(1) };
        Assert.EndsWith("Z\",\"step\":4}", Encoding.UTF8.GetString(EventJson.Write(made)), StringComparison.Ordinal);
        Assert.Equal(made, EventJson.Read("tool_result.v1", EventJson.Write(made), At));
        var given = ((RunCreated)Sample("run_created.v1")) with { ContextFiles = [new("src/a.txt", new string('a', 64), 70_000, Text, IsCut: true)] };
        Assert.StartsWith(
            $$"""{"context_files":[{"is_cut":true,"path":"src/a.txt","read_bytes":70000,"read_sha256":"{{new string('a', 64)}}","text":"Was kostet""",
            Encoding.UTF8.GetString(EventJson.Write(given)), StringComparison.Ordinal);
        Assert.Equal(EventJson.Write(given), EventJson.Write(EventJson.Read("run_created.v1", EventJson.Write(given), At)));

        Assert.EndsWith(
            $$""","project":"proj_{{Key}}","session_id":"sess_{{Key}}","title":"T","workspace_path":"/data/workspaces/w"}""",
            Encoding.UTF8.GetString(EventJson.Write(
                ((SessionCreated)Sample("session_created.v1")) with { Project = ProjectKey.FromId($"proj_{Key}"), Title = Content.Of("T"), Goal = Content.Of("G") })),
            StringComparison.Ordinal);
        var granted = ((SessionCreated)Sample("session_created.v1")) with
        {
            Grants = [new("/home/ann/reports", AllowWrite: true, AllowCreate: true, AllowDelete: false, ["out"])],
            Connectors = [new("postgres", ConnectionKey.FromId($"conn_{Key}"), ["read"], AllowActions: false)],
        };
        Assert.Contains(
            $$"""
            ,"connectors":[{"allow_actions":false,"connection_id":"conn_{{Key}}","provider":"postgres","scopes":["read"]}],"grants":[{"allow_create":true,"allow_delete":false,
            """.TrimEnd(), Encoding.UTF8.GetString(EventJson.Write(granted)), StringComparison.Ordinal);
        Assert.Equivalent(granted, EventJson.Read("session_created.v1", EventJson.Write(granted), At));
        Assert.StartsWith(
            $$"""{"group":"grp_{{Key}}","metadata":""",
            Encoding.UTF8.GetString(EventJson.Write(((SessionCreated)Sample("session_created.v1")) with { AuthContext = null, Group = GroupKey.FromId($"grp_{Key}") })),
            StringComparison.Ordinal);
        Assert.Equal(
            $$"""{"ahead":2,"run_id":"run_{{Key}}","title":"T"}""",
            Encoding.UTF8.GetString(EventJson.Write(((RunQueued)Sample("run_queued.v1")) with { Title = Content.Of("T") })));
        Assert.StartsWith(
            """{"goal":"G",""", Encoding.UTF8.GetString(EventJson.Write(((RunCreated)Sample("run_created.v1")) with { Goal = Content.Of("G") })), StringComparison.Ordinal);

        var skilled = ((RunCreated)Sample("run_created.v1")) with { Skills = [new(new(Key), "weekly-report", 2, Content.Of("Be brief."), ["recall"]), new(new(Key), "plain", 1)] };
        Assert.EndsWith(
            $$"""
            ,"skills":[{"id":"skill_{{Key}}","instructions":"Be brief.","name":"weekly-report","tools":["recall"],"version":2},{"id":"skill_{{Key}}","name":"plain","version":1}]}
            """,
            Encoding.UTF8.GetString(EventJson.Write(skilled)), StringComparison.Ordinal);
        Assert.Equal(EventJson.Write(skilled), EventJson.Write(EventJson.Read("run_created.v1", EventJson.Write(skilled), At)));

        var answering = ((RunCreated)Sample("run_created.v1")) with
        {
            Agent = new("critic", "Critic", "assistant", "ann", "m-1", 1, Content.Of("Be strict."), ["recall"], RunKey.FromId($"run_{Key}")),
        };
        Assert.StartsWith(
            $$"""
            {"agent":{"by":"assistant","called_by":"run_{{Key}}","depth":1,"id":"critic","instructions":"Be strict.","message_id":"m-1","nickname":"Critic","sender":"ann","tools":["recall"]},
            """,
            Encoding.UTF8.GetString(EventJson.Write(answering)), StringComparison.Ordinal);
        Assert.Equal(EventJson.Write(answering), EventJson.Write(EventJson.Read("run_created.v1", EventJson.Write(answering), At)));
        Assert.Equal(
            $$"""{"ahead":2,"lane":"critic","run_id":"run_{{Key}}"}""", Encoding.UTF8.GetString(EventJson.Write(((RunQueued)Sample("run_queued.v1")) with { Lane = "critic" })));
        Assert.EndsWith(
            $$"""
            ,"calls":[{"agent_id":"assistant","run_id":"run_{{Key}}"}],"message_id":"m-1","nickname":"Critic","run_id":"run_{{Key}}","sender":"ann"}
            """,
            Encoding.UTF8.GetString(EventJson.Write(((GroupAgentAnswered)Sample("group_agent_answered.v1")) with { Calls = [new("assistant", RunKey.FromId($"run_{Key}"))] })),
            StringComparison.Ordinal);
        var heard = ((MemoryRetrieval)Sample("memory_retrieval.v1")) with { Conversation = [new(RunKey.FromId($"run_{Key}"), "ann"), new(RunKey.FromId($"run_{Key}"), "Critic", "critic")] };
        Assert.Contains(
            $$"""
            ,"conversation":[{"by":"ann","run_id":"run_{{Key}}"},{"agent_id":"critic","by":"Critic","run_id":"run_{{Key}}"}],"history":
            """,
            Encoding.UTF8.GetString(EventJson.Write(heard)), StringComparison.Ordinal);

        var transcribed = ((RunCreated)Sample("run_created.v1")) with { Transcript = [new("system", Content.Of("Be brief."))] };
        Assert.EndsWith(""","transcript":[{"role":"system","text":"Be brief."}]}""", Encoding.UTF8.GetString(EventJson.Write(transcribed)), StringComparison.Ordinal);
        Assert.Equal(EventJson.Write(transcribed), EventJson.Write(EventJson.Read("run_created.v1", EventJson.Write(transcribed), At)));

        var used = new ModelUsage(1_900, 3, 40);
        Assert.Equal(
            $$"""{{File.ReadAllText(GoldenFile("model_retried.v1")).Split(",\"wait")[0]}},"usage":{"cost_micro_usd":40,"input_tokens":1900,"output_tokens":3},"wait_ms":7000}""",
            Encoding.UTF8.GetString(EventJson.Write(((ModelRetried)Sample("model_retried.v1")) with { Usage = used })));
        Assert.EndsWith(
            ""","usage":{"cost_micro_usd":40,"input_tokens":1900,"output_tokens":3}}""",
            Encoding.UTF8.GetString(EventJson.Write(((RunFailed)Sample("run_failed.v1")) with { Usage = used })), StringComparison.Ordinal);
        Assert.Contains("\"stop_reason\":\"length\"", Encoding.UTF8.GetString(EventJson.Write(((RunCompleted)Sample("run_completed.v1")) with { StopReason = "length" })));

        var asked = ((ApprovalRequested)Sample("approval_requested.v1")) with { Paths = ["report.md"] };
        golden = File.ReadAllText(GoldenFile("approval_requested.v1")).TrimEnd('\n');
        Assert.Equal(golden.Replace("\"reason", "\"paths\":[\"report.md\"],\"reason", StringComparison.Ordinal), Encoding.UTF8.GetString(EventJson.Write(asked)));

        var scheduled = ((RunCreated)Sample("run_created.v1")) with { Source = new(new SkillKey(Key), 3, new ScheduleKey(Key), At) };
        golden = File.ReadAllText(GoldenFile("run_created.v1")).TrimEnd('\n');
        var source = $$"""{"schedule_id":"sched_{{Key}}","skill_id":"skill_{{Key}}","skill_version":3,"slot":"2026-01-01T09:00:00.000Z"}""";
        var written = EventJson.Write(scheduled);
        Assert.Equal($$"""{{golden[..^1]}},"source":{{source}}}""", Encoding.UTF8.GetString(written));
        Assert.Equal(scheduled, EventJson.Read("run_created.v1", written, At));

        var issued = ((TokenIssued)Sample("token_issued.v1")) with { ExpiresAt = At, Addresses = ["10.0.0.0/8"], Issuers = [new("user:bob")], Operator = true };
        golden = File.ReadAllText(GoldenFile("token_issued.v1")).TrimEnd('\n');
        Assert.Equal(
            golden.Replace("{\"name\"", """{"addresses":["10.0.0.0/8"],"expires_at":"2026-01-01T09:00:00.000Z","issuers":[{"actor":"user:bob"}],"name" """.TrimEnd(), StringComparison.Ordinal)
                .Replace("\"roles", "\"operator\":true,\"roles", StringComparison.Ordinal),
            Encoding.UTF8.GetString(EventJson.Write(issued)));
        foreach (Event delegated in (Event[])
        [
            ((RunCreated)Sample("run_created.v1")) with { Issuers = [new("user:bob")] }, ((ApprovalDecided)Sample("approval_decided.v1")) with { Issuers = [new("user:bob")] },
            ((ScheduleCreated)Sample("schedule_created.v1")) with { Issuers = [new("user:bob")] }, ((FeedbackReceived)Sample("feedback_received.v1")) with { Issuers = [new("user:bob")] },
        ])
        {
            Assert.Contains("issuers\":[{\"actor\":\"user:bob\"}],", Encoding.UTF8.GetString(EventJson.Write(delegated)), StringComparison.Ordinal);
        }

        var from = new EventRef($"run-{Key}", 9);
        var noted = ((MemoryWritten)Sample("memory_written.v1")) with { Event = from, Notes = new("m", "00", 300, 40, null, new("notes_invalid", "No.")) };
        written = EventJson.Write(noted);
        Assert.Contains(
            $$$"""{"event":{"stream_id":"run-{{{Key}}}","version":9},""", Encoding.UTF8.GetString(written), StringComparison.Ordinal);
        Assert.Contains(
            """{"failure":{"code":"notes_invalid","message":"No."},"input_tokens":300,"model":"m","output_tokens":40,"request_sha256":"00"}""",
            Encoding.UTF8.GetString(written), StringComparison.Ordinal);
        Assert.Equal(noted, EventJson.Read("memory_written.v1", written, At));

        Assert.Contains(
            $$""","project":"proj_{{Key}}","run_id":""",
            Encoding.UTF8.GetString(EventJson.Write(((MemoryWritten)Sample("memory_written.v1")) with { Project = ProjectKey.FromId($"proj_{Key}") })), StringComparison.Ordinal);
        Assert.StartsWith(
            $$"""{"memory_id":"mem_{{Key}}","text":""",
            Encoding.UTF8.GetString(EventJson.Write(((MemoryCreated)Sample("memory_created.v1")) with { Project = null })), StringComparison.Ordinal);

        var retrieved = ((MemoryRetrieval)Sample("memory_retrieval.v1")) with { Provenance = [new("learning", new(Key), 3, new RunKey(Key), from)] };
        Assert.Contains(
            $$$"""[{"event":{"stream_id":"run-{{{Key}}}","version":9},"id":"mem_{{{Key}}}","kind":"learning","run_id":"run_{{{Key}}}","version":3}]""",
            Encoding.UTF8.GetString(EventJson.Write(retrieved)), StringComparison.Ordinal);
        var manual = new ScheduleTriggered(new(Key), null, new(Key), 2, new(Key), TriggerMode.Manual, CaughtUp: false, null, At);
        Assert.Equal(
            $$"""{"caught_up":false,"mode":"manual","run_id":"run_{{Key}}","schedule_id":"sched_{{Key}}","skill_id":"skill_{{Key}}","skill_version":2}""",
            Encoding.UTF8.GetString(EventJson.Write(manual)));
        Assert.Equal(manual, EventJson.Read("schedule_triggered.v1", EventJson.Write(manual), At));
    }

    [Fact]
    public void Forks_settings_subjects_and_requests_are_left_out_where_they_are_not_known()
    {
        var fork = new SessionFork(
            SessionKey.FromId($"sess_{Key}"), RunKey.FromId($"run_{Key}"), new($"run-{Key}", 9), new string('a', 64), 12, [RunKey.FromId($"run_{Key}")],
            [new(RunKey.FromId($"run_{Key}"), 9, new string('a', 64))]);
        var hash = new string('a', 64);
        var written = $$"""
            {"cuts":[{"hash":"{{hash}}","run_id":"run_{{Key}}","version":9}],"event":{"stream_id":"run-{{Key}}","version":9},"feed_id":12,"hash":"{{hash}}",
            """ + $$"""
            "history":["run_{{Key}}"],"run_id":"run_{{Key}}","session_id":"sess_{{Key}}"}
            """;
        var whole = $$"""
            {"event":{"stream_id":"run-{{Key}}","version":9},"feed_id":12,"hash":"{{hash}}","history":["run_{{Key}}"],"session_id":"sess_{{Key}}"}
            """;
        foreach (var (of, member) in ((SessionFork, string)[])[(fork, written), (fork with { RunId = null, Cuts = null }, whole)])
        {
            Adds("session_created.v1", ((SessionCreated)Sample("session_created.v1")) with { Fork = of }, $"\"fork\":{member},", "\"metadata\"");
            Adds("run_created.v1", ((RunCreated)Sample("run_created.v1")) with { Fork = of }, $"\"fork\":{member},", "\"idempotency_key\"");
        }

        var settings = new string('b', 64);
        Adds("run_started.v1", ((RunStarted)Sample("run_started.v1")) with { Settings = settings }, $",\"settings\":\"{settings}\"", "}");
        Adds("run_resumed.v1", ((RunResumed)Sample("run_resumed.v1")) with { Settings = settings }, $",\"settings\":\"{settings}\"", "}");

        var judged = (PolicyDecision)Sample("policy_decision.v1");
        const string Read = """
            "subject":{"kind":"read","path":{"name":"report.md"}},
            """;
        Adds("policy_decision.v1", judged with { Subject = new("read", new("report.md")) }, Read, "\"tool_call_id\"");
        Adds(
            "policy_decision.v1",
            judged with
            {
                Subject = new(
                    "move", new("in/a.md", "a.md", IsOutput: true), new("out/a.md"), [new("b.md")], OutsideGrants: true, "The grant does not allow it.", "postgres", 120,
                    "No path."),
            },
            """
            "subject":{"estimate_seconds":120,"invalid":"No path.","kind":"move","more":[{"name":"b.md"}],"not_granted":"The grant does not allow it.","outside_grants":true,
            """ + """
            "path":{"is_output":true,"name":"in/a.md","relative":"a.md"},"source":"postgres","target":{"name":"out/a.md"}},
            """,
            "\"tool_call_id\"");

        Adds("tool_result.v1", ((ToolResult)Sample("tool_result.v1")) with { Source = Counterfactual.Stub }, "\"source\":\"stub\",", "\"step\"");
        Adds("llm_response.v1", ((LlmResponse)Sample("llm_response.v1")) with { Source = Counterfactual.Recorded }, "\"source\":\"recorded\",", "\"step\"");
        Adds("feedback_received.v1", ((FeedbackReceived)Sample("feedback_received.v1")) with { Source = Counterfactual.Recorded }, "\"source\":\"recorded\",", "\"text\"");
        var other = new Counterfactual(new(RunKey.FromId($"run_{Key}"), 9, hash), 12, 40, []);
        var bare = $$$"""
            "counterfactual":{"changed":[],"from_event":12,"known":40,"of":{"hash":"{{{hash}}}","run_id":"run_{{{Key}}}","version":9}},
            """;
        Adds("run_created.v1", ((RunCreated)Sample("run_created.v1")) with { Counterfactual = other }, bare, "\"idempotency_key\"");
        Adds(
            "run_created.v1",
            ((RunCreated)Sample("run_created.v1")) with
            {
                Counterfactual = other with
                {
                    Changed = ["policy"],
                    Policy = Content.Of("{}"),
                    Allow = ["read_file"],
                    Stubs = [new("write_file", Content.Of("Wrote."))],
                    RejectsUnrecorded = true,
                    BudgetMicroUsd = 5,
                },
            },
            $$"""
            "counterfactual":{"allow":["read_file"],"budget_micro_usd":5,"changed":["policy"],"from_event":12,"known":40,"of":{"hash":"{{hash}}","run_id":"run_{{Key}}","version":9},
            """ + """
            "policy":"{}","rejects_unrecorded":true,"stubs":[{"for":"write_file","result":"Wrote."}]},
            """,
            "\"idempotency_key\"");

        var request = new string('c', 64);
        Adds("model_retried.v1", ((ModelRetried)Sample("model_retried.v1")) with { RequestSha256 = request }, $"\"request_sha256\":\"{request}\",", "\"step\"");
        Adds("run_failed.v1", ((RunFailed)Sample("run_failed.v1")) with { RequestSha256 = request }, $",\"request_sha256\":\"{request}\"", "}");
    }

    /// <summary>The event is written as its golden file, with a member before the last place where there is something else, and read as it was.</summary>
    static void Adds(string name, Event e, string member, string before)
    {
        var golden = File.ReadAllText(GoldenFile(name)).TrimEnd('\n');
        var written = EventJson.Write(e);
        Assert.Equal(golden.Insert(golden.LastIndexOf(before, StringComparison.Ordinal), member), Encoding.UTF8.GetString(written));
        Assert.Equivalent(e, EventJson.Read(name, written, At), strict: true);
    }

    static Event Sample(string name) =>
        Array.Find(Samples, e => e.GetType() == EventTypes.ByName[name].Shape) ?? throw new InvalidOperationException($"Add a sample of {name} to {nameof(Samples)}.");

    static string GoldenFile(string name) => Path.Combine(AppContext.BaseDirectory, "golden", $"{name}.json");
}
