using System.Globalization;

using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>A query parameter that is a whole number: how it is read, and how /openapi.json describes it.</summary>
public sealed record WholeNumberQuery(string Name, long Min, long Max, long Default, string Description)
{
    /// <exception cref="UnreadableRequestException">It is something else.</exception>
    public long Read(HttpContext http) => http.Request.Query.TryGetValue(Name, out var sent) ? Read(Name, sent) : Default;

    /// <summary>The same number from elsewhere, for example a header.</summary>
    public long Read(string place, Microsoft.Extensions.Primitives.StringValues sent) =>
        sent is [{ } text] && long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= Min && number <= Max
            ? number
            : throw new UnreadableRequestException(ErrorResult.Invalid(place, $"Must be a whole number from {Min} to {Max}."));
}

/// <summary>A query parameter that is one of a few words.</summary>
public sealed record ChoiceQuery(string Name, IReadOnlyList<string> Choices, string Default, string Description)
{
    /// <exception cref="UnreadableRequestException">It is something else.</exception>
    public string Read(HttpContext http) =>
        !http.Request.Query.TryGetValue(Name, out var sent) ? Default
        : sent is [{ } word] && Choices.Contains(word) ? word
        : throw new UnreadableRequestException(ErrorResult.Invalid(Name, $"Must be one of {string.Join(", ", Choices)}."));
}

/// <summary>A query parameter that is text.</summary>
/// <param name="Default">Null: it must be given.</param>
public sealed record TextQuery(string Name, string? Default, string Description)
{
    /// <exception cref="UnreadableRequestException">It was not given, or twice.</exception>
    public string Read(HttpContext http) =>
        http.Request.Query.TryGetValue(Name, out var sent)
            ? sent is [{ Length: > 0 } text] ? text : throw new UnreadableRequestException(ErrorResult.Invalid(Name, "Must be given once, and not be empty."))
            : Default ?? throw new UnreadableRequestException(ErrorResult.Invalid(Name, "Is required."));
}

/// <summary>A query parameter that is a time.</summary>
public sealed record TimeQuery(string Name, string Description)
{
    static readonly string[] Forms = ["yyyy-MM-dd'T'HH:mm:ss.FFFFFFFK", "yyyy-MM-dd'T'HH:mmK", "yyyy-MM-dd"];

    /// <summary>Null: it was not given.</summary>
    /// <exception cref="UnreadableRequestException">It is something else.</exception>
    public DateTimeOffset? Read(HttpContext http) =>
        !http.Request.Query.TryGetValue(Name, out var sent) ? null
        : DateTimeOffset.TryParseExact(sent is [{ } text] ? text : "", Forms, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time) ? time
        : throw new UnreadableRequestException(ErrorResult.Invalid(Name, "Must be a time of ISO 8601, like 2026-01-01T09:00:00Z (a plus is written %2B)."));
}

/// <summary>A query parameter that is an id.</summary>
public sealed record IdQuery(string Name, string Description);

/// <summary>A session that the query names, by its key.</summary>
static class SessionInQuery
{
    public static IdQuery Parameter { get; } = new("session_id", "Only of this session.");

    /// <summary>Null: none is named.</summary>
    public static string? Read(HttpContext http) =>
        !http.Request.Query.TryGetValue(Parameter.Name, out var sent) ? null
        : PathIds.Key(sent is [{ } id] ? id : "", Parameter.Name, "session", Ids.SessionKey);
}

/// <summary>What all lists have in common.</summary>
static class Lists
{
    public static WholeNumberQuery Limit { get; } = new("limit", 1, 1000, 100, "At most so many.");
}

/// <summary>A session that the path names, by its key.</summary>
public sealed record SessionInPath(string Key)
{
    public static ValueTask<SessionInPath> BindAsync(HttpContext http) =>
        ValueTask.FromResult(new SessionInPath(PathIds.Key(http, "session_id", "session", Ids.SessionKey)));
}

/// <summary>A run that the path names, by its key.</summary>
public sealed record RunInPath(string Key)
{
    public static ValueTask<RunInPath> BindAsync(HttpContext http) =>
        ValueTask.FromResult(new RunInPath(PathIds.Key(http, "run_id", "run", id => Ids.Key(id, "run", "resp", "task"))));
}

/// <summary>An approval that the path names, by its key.</summary>
public sealed record ApprovalInPath(string Key)
{
    public static ValueTask<ApprovalInPath> BindAsync(HttpContext http) =>
        ValueTask.FromResult(new ApprovalInPath(PathIds.Key(http, "approval_id", "approval", id => Ids.Key(id, "appr"))));
}

/// <summary>An artifact that the path names, by its key.</summary>
public sealed record ArtifactInPath(string Key)
{
    public static ValueTask<ArtifactInPath> BindAsync(HttpContext http) =>
        ValueTask.FromResult(new ArtifactInPath(PathIds.Key(http, "artifact_id", "artifact", id => Ids.Key(id, "art"))));
}

/// <summary>A skill that the path names, by its key.</summary>
public sealed record SkillInPath(string Key)
{
    public static ValueTask<SkillInPath> BindAsync(HttpContext http) =>
        ValueTask.FromResult(new SkillInPath(PathIds.Key(http, "skill_id", "skill", id => Ids.Key(id, "skill"))));
}

/// <summary>The number of a version that the path names.</summary>
public sealed record VersionInPath(int Number)
{
    public static ValueTask<VersionInPath> BindAsync(HttpContext http) =>
        int.TryParse((string?)http.Request.RouteValues["version"], NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0
            ? ValueTask.FromResult(new VersionInPath(number))
            : throw new UnreadableRequestException(ErrorResult.Invalid("version", "A version is a whole number from 1."));
}

/// <summary>A memory that the path names, by its key.</summary>
public sealed record MemoryInPath(string Key)
{
    public static ValueTask<MemoryInPath> BindAsync(HttpContext http) =>
        ValueTask.FromResult(new MemoryInPath(PathIds.Key(http, "memory_id", "memory", id => Ids.Key(id, "mem"))));
}

/// <summary>A schedule that the path names, by its key.</summary>
public sealed record ScheduleInPath(string Key)
{
    public static ValueTask<ScheduleInPath> BindAsync(HttpContext http) =>
        ValueTask.FromResult(new ScheduleInPath(PathIds.Key(http, "schedule_id", "scheduled run", id => Ids.Key(id, "sched"))));
}

/// <summary>An API token that the path names, by its key.</summary>
public sealed record TokenInPath(string Key)
{
    public static ValueTask<TokenInPath> BindAsync(HttpContext http) =>
        ValueTask.FromResult(new TokenInPath(PathIds.Key(http, "token_id", "token", id => Ids.Key(id, "token"))));
}

static class PathIds
{
    /// <summary>What can be nobody's id is 422; what could be one but is none of ours is 404, like any unknown one.</summary>
    public static string Key(HttpContext http, string name, string what, Func<string, string?> keyOf) =>
        Key((string?)http.Request.RouteValues[name] ?? "", name, what, keyOf);

    public static string Key(string id, string name, string what, Func<string, string?> keyOf)
    {
        if (id.Length is 0 or > Limits.IdCharsMax || !id.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-'))
        {
            throw new UnreadableRequestException(ErrorResult.Invalid(name, $"An id has 1 to {Limits.IdCharsMax} letters, digits, dots, underscores and hyphens."));
        }
        return keyOf(id) ?? throw new UnreadableRequestException(ErrorResult.NotFound(what));
    }
}
