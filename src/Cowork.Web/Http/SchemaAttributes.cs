using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>
/// The text, or each text of the list, is one of a closed set of words: /openapi.json has an enumeration that is named like the attribute. Codes and types of events are
/// no such sets, because a later release has more of them.
/// </summary>
[AttributeUsage(AttributeTargets.Property)]
public abstract class WordsAttribute(params string[] words) : Attribute
{
    public IReadOnlyList<string> Words { get; } = words;

    /// <summary>Name of the enumeration.</summary>
    public string Name => GetType().Name[..^nameof(Attribute).Length];

    protected static string[] WordsOf<T>()
        where T : struct, Enum => [.. Enum.GetNames<T>().Select(name => name.ToLowerInvariant())];
}

public sealed class RunStatusAttribute() : WordsAttribute("queued", "running", "approval_required", "completed", "failed", "cancelled");

public sealed class DesktopTaskStatusAttribute() : WordsAttribute([.. Projections.TaskStatuses.All]);

public sealed class ResponseStatusAttribute() : WordsAttribute("in_progress", "completed", "failed", "cancelled");

public sealed class PolicyOutcomesAttribute() : WordsAttribute(WordsOf<PolicyOutcome>());

public sealed class SimulatedOutcomesAttribute() : WordsAttribute([.. WordsOf<PolicyOutcome>(), Endpoints.Operations.PolicyWords.Unknown]);

public sealed class UnrecordedApprovalsAttribute() : WordsAttribute("wait", "reject");

public sealed class RunSourceKindAttribute() : WordsAttribute(Message, Skill, Schedule)
{
    public const string Message = "message";
    public const string Skill = "skill";
    public const string Schedule = "schedule";

    public static string Of(RunSource? source) => source?.ScheduleId is not null ? Schedule : source?.SkillId is not null ? Skill : Message;
}

public sealed class SearchKindAttribute() : WordsAttribute([.. All])
{
    public const string Messages = "messages";
    public const string Replies = "replies";
    public const string Titles = "titles";
    public const string Memories = "memories";

    public static IReadOnlyList<string> All { get; } = [Messages, Replies, Titles, Memories];
}

public sealed class SearchRoleAttribute() : WordsAttribute(User, Assistant, Title, Memory)
{
    public const string User = "user";
    public const string Assistant = "assistant";
    public const string Title = "title";
    public const string Memory = "memory";
}

public sealed class StepKindAttribute() : WordsAttribute([.. Projections.RunSteps.Kinds]);

public sealed class StepStatusAttribute() : WordsAttribute([.. Projections.RunSteps.Statuses]);

public sealed class SubjectStateAttribute() : WordsAttribute("active", "erasing", "erased", "unreadable");

public sealed class WorkerModeAttribute() : WordsAttribute(Projections.RunSummary.WorkerModeOfAll);

public sealed class ApprovalStatusAttribute() : WordsAttribute("pending", "approved", "rejected", "expired");

public sealed class ScheduleStatusAttribute() : WordsAttribute(Projections.Schedules.Active, Projections.Schedules.Paused);

public sealed class ConversationStatusAttribute() : WordsAttribute(Projections.Sessions.Active, Projections.Sessions.Archived);

public sealed class DesktopSessionStatusAttribute() : WordsAttribute(Projections.Sessions.Active, Projections.Sessions.Archived);

public sealed class FileStatusAttribute() : WordsAttribute(Projections.Files.Processing, Projections.Files.Ready, Projections.Files.Failed);

public sealed class ConnectionStatusAttribute() : WordsAttribute(Projections.Connections.Connected, Projections.Connections.Error, Projections.Connections.Pending);

public sealed class ConnectorAuthTypeAttribute() : WordsAttribute("credentials", "oauth2");

public sealed class ArtifactTypeAttribute() : WordsAttribute([.. Domain.ArtifactTypes.All]);

public sealed class CellTypeAttribute() : WordsAttribute(CellTypes.Markdown, CellTypes.Code, CellTypes.Output);

public sealed class NewCellTypeAttribute() : WordsAttribute(CellTypes.Markdown, CellTypes.Code);

public sealed class CellStatusAttribute() : WordsAttribute("pending", "running", "success", "error");

public sealed class KernelStatusAttribute() : WordsAttribute("none", "waiting", "idle", "busy");

public sealed class ReplayStatusAttribute() : WordsAttribute("in_progress", "completed");

public sealed class ReplayResultAttribute() : WordsAttribute("equal", "different", "failed", "pending");

public sealed class ItemRoleAttribute() : WordsAttribute("user", "assistant");

public sealed class MisfirePolicyAttribute() : WordsAttribute(WordsOf<Misfire>());

public sealed class OverlapPolicyAttribute() : WordsAttribute(WordsOf<Overlap>());

public sealed class SlotOutcomeAttribute() : WordsAttribute("fired", "caught_up", "skipped", "replanned");

public sealed class ScheduleEntryKindAttribute() : WordsAttribute([.. Projections.ScheduleEntry.Kinds]);

public sealed class TriggerModeAttribute() : WordsAttribute(WordsOf<TriggerMode>());

public sealed class MemoryKindAttribute() : WordsAttribute("session_summary", "learning", "memory");

public sealed class MemorySourceAttribute() : WordsAttribute(Projections.Memories.OfUser, Projections.Memories.OfAgent);

public sealed class HealthStatusAttribute() : WordsAttribute("live", "ready", "ok");

public sealed class ConsoleAuthAttribute() : WordsAttribute("none", "token");

public sealed class WorkBucketAttribute() : WordsAttribute([.. WorkBuckets.All]);

public sealed class AgentMessageRoleAttribute() : WordsAttribute("system", "user", "assistant");

public sealed class SigningPurposeAttribute() : WordsAttribute([.. SigningKeys.Purposes]);

public sealed class GroupStatusAttribute() : WordsAttribute(Projections.Groups.Active, Projections.Groups.Archiving, Projections.Groups.Archived);

public sealed class GroupRoleAttribute() : WordsAttribute(WordsOf<GroupRole>())
{
    public static string NameOf(GroupRole role) => role.ToString().ToLowerInvariant();

    /// <summary>Null: there is no such role.</summary>
    public static GroupRole? Parse(string name) => name switch
    {
        "member" => GroupRole.Member,
        "admin" => GroupRole.Admin,
        _ => null,
    };
}

public sealed class AuthenticationAttribute() : WordsAttribute(Local, Token, Oidc)
{
    public const string Local = "local";
    public const string Token = "token";
    public const string Oidc = "oidc";
}

public sealed class RoleAttribute() : WordsAttribute([.. ApiToken.Roles]);

/// <summary>In a body: null is refused. In an answer: the member is left out when it has no value. Either way it is never null, although its type is nullable.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class NeverNullAttribute : Attribute;

/// <summary>A part of a form with the bytes of a file.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class FileBytesAttribute : Attribute;

/// <summary>The JSON is a text, or a list of objects. /openapi.json has the text alone, because generators make one type of a member.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class TextOrListAttribute : Attribute;

/// <summary>The JSON is an object or a text. Any other <c>JsonElement</c> is an object.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class ObjectOrTextAttribute : Attribute;
