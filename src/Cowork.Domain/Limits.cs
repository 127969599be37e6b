namespace Cowork.Domain;

/// <summary>The limits of contracts/decisions.md ("Errors", "Runs") and those that follow from them.</summary>
public static class Limits
{
    /// <summary>Longest text kept inside an event, in UTF-8 bytes; longer text goes to the blob store by digest.</summary>
    public const int InlineBytesMax = 64 * 1024;

    /// <summary>Longest message, input or prompt, in UTF-8 bytes.</summary>
    public const int MessageBytesMax = 256 * 1024;

    /// <summary>Feedback of one run that no request to its model has shown yet: the next request shows all of it.</summary>
    public const int FeedbackWaitingMax = 32;

    /// <summary>Longest metadata of a session or skill, as it is sent, in UTF-8 bytes.</summary>
    public const int MetadataBytesMax = 64 * 1024;

    /// <summary>Longest id that a client may choose or send, in characters.</summary>
    public const int IdCharsMax = 128;

    /// <summary>Longest Idempotency-Key, in printable ASCII characters.</summary>
    public const int IdempotencyKeyCharsMax = 255;

    /// <summary>Turns waiting in one session, unless configured otherwise; the next one is refused with 429.</summary>
    public const int QueuedPerSessionMax = 1_000;

    /// <summary>Runs waiting in one tenant, unless configured otherwise; the next one is refused with 429.</summary>
    public const int QueuedPerTenantMax = 100_000;

    /// <summary>Longest piece of streamed text in one output_delta, in characters, so that no delta ever needs the blob store.</summary>
    public const int DeltaCharsMax = 16 * 1024;

    /// <summary>Longest note of a decision on an approval, in characters.</summary>
    public const int NoteCharsMax = 4_000;

    /// <summary>Longest name of a skill, in characters.</summary>
    public const int SkillNameCharsMax = 64;

    /// <summary>Longest description of a skill, in characters.</summary>
    public const int DescriptionCharsMax = 4_000;

    /// <summary>Versions of one skill: all of them are held in memory while it is in use.</summary>
    public const int SkillVersionsMax = 1_000;

    /// <summary>Longest instructions of a skill, in UTF-8 bytes: every run in which it is active records them, and they fit an event.</summary>
    public const int InstructionsBytesMax = InlineBytesMax;

    /// <summary>Instructions of all skills that are active in one run, in UTF-8 bytes: as much as its message may have.</summary>
    public const int ActiveInstructionsBytesMax = MessageBytesMax;

    /// <summary>Tools that a skill names.</summary>
    public const int SkillToolsMax = 100;

    /// <summary>Longest name of a tool, in characters.</summary>
    public const int ToolNameCharsMax = 128;

    /// <summary>Longest name of a template's parameter, in characters.</summary>
    public const int ParamNameCharsMax = 64;

    /// <summary>Longest cron expression, in characters: a list of every minute, hour, day and month is shorter.</summary>
    public const int CronCharsMax = 500;

    /// <summary>Missed slots of a schedule that are caught up at once, of those that come last: a day of a run every quarter of an hour.</summary>
    public const int SlotsCaughtUpMax = 100;

    /// <summary>Longest time between two slots of an interval, in seconds: ten years.</summary>
    public const long IntervalSecondsMax = 10L * 366 * 24 * 3600;

    /// <summary>Longest name of a schedule, in characters.</summary>
    public const int ScheduleNameCharsMax = 200;

    /// <summary>Longest name of a project, in characters.</summary>
    public const int ProjectNameCharsMax = 200;

    /// <summary>Connections or skills that a project names.</summary>
    public const int ProjectIdsMax = 100;

    /// <summary>Longest name of a connection, in characters.</summary>
    public const int ConnectionNameCharsMax = 200;

    /// <summary>Connections of one tenant.</summary>
    public const int ConnectionsMax = 1_000;

    /// <summary>Folders that are granted to one session: each is opened for every path that is judged.</summary>
    public const int FolderGrantsMax = 16;

    /// <summary>Output roots of one granted folder.</summary>
    public const int OutputRootsMax = 16;

    /// <summary>Connector grants of one session, and scopes of one of them.</summary>
    public const int ConnectorGrantsMax = 32;

    /// <summary>Longest name of a provider or a scope in a connector grant, in characters.</summary>
    public const int ScopeCharsMax = 200;

    /// <summary>Context files of one task (contract C).</summary>
    public const int TaskFilesMax = 50;

    /// <summary>Text of one context file that becomes part of a prompt, in bytes of the file: about 16 000 tokens. The rest is cut, and said.</summary>
    public const int TaskFileBytesMax = 64 * 1024;

    /// <summary>Text of all context files of a task, in bytes of the files: with more, little of a model's context would be left.</summary>
    public const int TaskFilesBytesMax = 256 * 1024;

    /// <summary>Longest title of a conversation, in characters.</summary>
    public const int TitleCharsMax = 200;

    /// <summary>Longest title that is taken from a conversation's first message, in characters (contracts/decisions.md, "B, the rest").</summary>
    public const int TakenTitleCharsMax = 60;

    /// <summary>Longest goal of a conversation, in characters: every run records it, and it fits an event.</summary>
    public const int GoalCharsMax = 16_000;

    /// <summary>Active groups of one organisation (contracts/decisions.md, "D, the rest").</summary>
    public const int ActiveGroupsMax = 25;

    /// <summary>Members of one group: all of them are held in memory while it is in use.</summary>
    public const int GroupMembersMax = 500;

    /// <summary>Agents of one group.</summary>
    public const int GroupAgentsMax = 20;

    /// <summary>Messages and answers of a group that are put before an agent's model: as many as those of <see cref="HistoryTurnsMax"/> turns.</summary>
    public const int GroupHistoryMax = 2 * HistoryTurnsMax;

    /// <summary>Bytes of them: hundreds of agents answer at once, and each has its prompt in memory.</summary>
    public const int GroupHistoryBytesMax = 1 << 20;

    /// <summary>Messages of a group whose runs are counted: what an older one leads to is counted from 0.</summary>
    public const int GroupChainsMax = 100;

    /// <summary>How often agents hand a member's message on among themselves (contracts/decisions.md, "D, the rest").</summary>
    public const int AgentDepthMax = 10;

    /// <summary>Runs that one message may lead to: agents that each address several others would otherwise double them at every step.</summary>
    public const int RunsPerMessageMax = 100;

    /// <summary>Longest id or nickname of an agent, in characters.</summary>
    public const int AgentNameCharsMax = 64;

    /// <summary>Longest title of a group, in characters.</summary>
    public const int GroupTitleCharsMax = 200;

    /// <summary>Longest name of an uploaded file, in UTF-8 bytes: as long as most file systems allow.</summary>
    public const int FileNameBytesMax = 255;

    /// <summary>Longest media type that a client may declare for a file, in characters.</summary>
    public const int MediaTypeCharsMax = 255;

    /// <summary>Largest file, in bytes, unless configured otherwise (contracts/decisions.md, "Errors").</summary>
    public const long FileBytesMax = 512L << 20;

    /// <summary>Scratchpads of one conversation.</summary>
    public const int ScratchpadsPerSessionMax = 100;

    /// <summary>Cells of one scratchpad: all of them are held in memory while it is in use.</summary>
    public const int ScratchpadCellsMax = 500;

    /// <summary>Longest content of a cell, in UTF-8 bytes.</summary>
    public const int CellContentBytesMax = 256 * 1024;

    /// <summary>Contents of all cells of one scratchpad, in UTF-8 bytes.</summary>
    public const int ScratchpadContentBytesMax = 4 << 20;

    /// <summary>Output of one execution, in UTF-8 bytes; what follows is cut (contracts/decisions.md, "B, the rest").</summary>
    public const int CellOutputBytesMax = 1 << 20;

    /// <summary>Outputs of all cells of one scratchpad, in UTF-8 bytes, before another one may be executed.</summary>
    public const int ScratchpadOutputBytesMax = 16 << 20;

    /// <summary>Executions that wait in one scratchpad.</summary>
    public const int CellsQueuedMax = 100;

    /// <summary>Attempts at an execution whose kernel is lost with its host.</summary>
    public const int CellAttemptsMax = 3;

    /// <summary>Longest name of a cell's language, in characters.</summary>
    public const int LanguageCharsMax = 32;

    /// <summary>Nesting of a work's payload, with the payload itself as 1 (contracts/decisions.md, "Errors").</summary>
    public const int PayloadDepthMax = 1_000;

    /// <summary>Longest label of a work, in characters.</summary>
    public const int WorkLabelCharsMax = 500;

    /// <summary>Longest preview of a work, in characters: a small picture in a data URL fits.</summary>
    public const int WorkPreviewCharsMax = 64 * 1024;

    /// <summary>Characters of a preview, from its beginning, in which works are searched.</summary>
    public const int WorkPreviewCharsSearched = 2_000;

    /// <summary>Tags of a work.</summary>
    public const int WorkTagsMax = 50;

    /// <summary>Longest tag of a work, in characters.</summary>
    public const int WorkTagCharsMax = 100;

    /// <summary>Networks that a token may be bound to.</summary>
    public const int TokenAddressesMax = 64;

    /// <summary>Largest file that clients keep indexed, in bytes (contracts/decisions.md, "C, the rest").</summary>
    public const int ContextFileBytesMax = 512 * 1024;

    /// <summary>Paths of one request to index files.</summary>
    public const int ContextPathsMax = 10_000;

    /// <summary>Things that a list of an earlier moment folds once more, because they have changed since: as many as a tenant's usual quota of sessions.</summary>
    public const int AsOfFoldsMax = 10_000;

    /// <summary>Past decisions that one request holds against a proposed policy.</summary>
    public const int SimulatedDecisionsMax = 10_000;

    /// <summary>Rules of a proposed policy: each is held against each decision.</summary>
    public const int SimulatedRulesMax = 1_000;

    /// <summary>Tools that a counterfactual may call, and results that it is given.</summary>
    public const int CounterfactualToolsMax = 100;

    /// <summary>What a counterfactual's own budget may be, in US dollars.</summary>
    public const int CounterfactualBudgetUsdMax = 1_000_000;

    /// <summary>Names of tools that narrow a simulation.</summary>
    public const int SimulatedToolsMax = 100;

    /// <summary>Longest path in UTF-8 bytes, as long as Linux allows.</summary>
    public const int PathBytesMax = 4_096;

    /// <summary>Longest query for passages, in characters.</summary>
    public const int QueryCharsMax = 4_000;

    /// <summary>Passages of one answer (contracts/decisions.md, "C, the rest").</summary>
    public const int ContextItemsMax = 50;

    /// <summary>Greatest amount in micro-USD: the greatest whole number of I-JSON, 9 billion US dollars.</summary>
    public const long MicroUsdMax = (1L << 53) - 1;

    /// <summary>Highest daily budget, in US dollars.</summary>
    public const long DailyUsdMax = 1_000_000_000;

    /// <summary>Memories put before the model at a run's start.</summary>
    public const int MemoriesPerRunMax = 8;

    /// <summary>Characters of memory put before the model at a run's start.</summary>
    public const int MemoryCharsMax = 4_000;

    /// <summary>Earlier turns of the session put before the model.</summary>
    public const int HistoryTurnsMax = 20;

    /// <summary>Of a session certificate of a group: a controller that works longer opens its session again.</summary>
    public static readonly TimeSpan SessionCertificateLifetime = TimeSpan.FromHours(1);

    /// <summary>Of a routing token (contracts/decisions.md, "D, the rest").</summary>
    public static readonly TimeSpan RoutingTokenLifetime = TimeSpan.FromMinutes(5);

    /// <summary>Of a signed request, from <c>iat</c> to <c>exp</c> (contracts/decisions.md, "D, the rest").</summary>
    public static readonly TimeSpan SignedRequestLifetime = TimeSpan.FromMinutes(1);

    /// <summary>So far the clocks of who signs a token and of who believes it may be apart, both ways: machines that set their clocks are within a second.</summary>
    public static readonly TimeSpan TokenClockSkew = TimeSpan.FromSeconds(5);
}

/// <summary>What one run may use before it fails with <c>limit_…</c>. Configurable as <c>Cowork:Runs:…</c>.</summary>
/// <param name="Tokens">Input and output tokens of all model rounds.</param>
/// <param name="ToolCalls">Tool calls asked for by the model.</param>
/// <param name="Rounds">Model requests.</param>
/// <param name="Time">Since the run started, waiting for approvals not counted: an approval may take a day.</param>
public sealed record RunLimits(long Tokens, int ToolCalls, int Rounds, TimeSpan Time)
{
    public static RunLimits Default { get; } = new(100_000, 60, 50, TimeSpan.FromHours(1));
}
