using System.Globalization;

using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>A kind of thing that paths name by its id.</summary>
public interface IPathId
{
    /// <summary>Name of the route parameter, and of the field in a body.</summary>
    static abstract string Parameter { get; }

    /// <summary>The thing in the detail of a 404.</summary>
    static abstract string Noun { get; }

    /// <summary>The key of an id in any of its forms; null: no such thing has this id.</summary>
    static abstract string? KeyOf(string id);
}

/// <summary>The key of a thing that the path names by its id.</summary>
public sealed record PathKey<TId>(string Key)
    where TId : IPathId
{
    /// <exception cref="UnreadableRequestException">422: no id has this form. 404: nothing of this kind has this id.</exception>
    public static ValueTask<PathKey<TId>> BindAsync(HttpContext http) =>
        ValueTask.FromResult(new PathKey<TId>(PathIds.Key<TId>((string?)http.Request.RouteValues[TId.Parameter] ?? "", TId.Parameter)));
}

/// <summary>The version number in a path.</summary>
public sealed record VersionInPath(int Number)
{
    public static ValueTask<VersionInPath> BindAsync(HttpContext http) =>
        int.TryParse((string?)http.Request.RouteValues["version"], NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0
            ? ValueTask.FromResult(new VersionInPath(number))
            : throw new UnreadableRequestException(ErrorResult.Invalid("version", "A version is a whole number from 1."));
}

/// <summary>The kinds of things that paths name.</summary>
public static class PathIds
{
    /// <summary>The key of an id from a path, a query or a body.</summary>
    /// <param name="place">The parameter, or the JSON path of the field.</param>
    /// <exception cref="UnreadableRequestException">422: no id has this form. 404: nothing of this kind has this id.</exception>
    public static string Key<TId>(string id, string place)
        where TId : IPathId
    {
        if (id.Length is 0 or > Limits.IdCharsMax || !id.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-'))
        {
            throw new UnreadableRequestException(ErrorResult.Invalid(place, $"An id has 1 to {Limits.IdCharsMax} letters, digits, dots, underscores and hyphens."));
        }
        return TId.KeyOf(id) ?? throw new UnreadableRequestException(ErrorResult.NotFound(TId.Noun));
    }

    public sealed class Session : IPathId
    {
        public static string Parameter => "session_id";

        public static string Noun => "session";

        public static string? KeyOf(string id) => Ids.SessionKey(id);
    }

    public sealed class Run : IPathId
    {
        public static string Parameter => "run_id";

        public static string Noun => "run";

        public static string? KeyOf(string id) => Ids.Key(id, "run", "resp", "task");
    }

    public sealed class Approval : IPathId
    {
        public static string Parameter => "approval_id";

        public static string Noun => "approval";

        public static string? KeyOf(string id) => Ids.Key(id, "appr");
    }

    public sealed class Artifact : IPathId
    {
        public static string Parameter => "artifact_id";

        public static string Noun => "artifact";

        public static string? KeyOf(string id) => Ids.Key(id, "art");
    }

    public sealed class Skill : IPathId
    {
        public static string Parameter => "skill_id";

        public static string Noun => "skill";

        public static string? KeyOf(string id) => Ids.Key(id, "skill");
    }

    public sealed class Memory : IPathId
    {
        public static string Parameter => "memory_id";

        public static string Noun => "memory";

        public static string? KeyOf(string id) => Ids.Key(id, "mem");
    }

    public sealed class Schedule : IPathId
    {
        public static string Parameter => "schedule_id";

        public static string Noun => "scheduled run";

        public static string? KeyOf(string id) => Ids.Key(id, "sched");
    }

    public sealed class Token : IPathId
    {
        public static string Parameter => "token_id";

        public static string Noun => "token";

        public static string? KeyOf(string id) => Ids.Key(id, "token");
    }
}
