using System.Globalization;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

namespace Cowork.Web.Http;

/// <summary>A query parameter that an endpoint takes.</summary>
public interface IQueryParameter
{
    string Name { get; }
}

/// <summary>A query parameter with a whole number. Endpoints read it, and /openapi.json describes it.</summary>
/// <param name="Default">Null: the parameter is required, or the endpoint asks with <see cref="Find"/> whether it is there.</param>
public sealed record WholeNumberQuery(string Name, long Min, long Max, long? Default, string Description, bool IsRequired = false) : IQueryParameter
{
    const string LastEventId = "Last-Event-ID";

    /// <exception cref="UnreadableRequestException">The value has another form, or is missing and has no default.</exception>
    public long Read(HttpContext http) => Find(http) ?? Default ?? throw new UnreadableRequestException(ErrorResult.Invalid(Name, "Is required."));

    /// <summary>Null: the request has no such parameter.</summary>
    /// <exception cref="UnreadableRequestException">The value has another form.</exception>
    public long? Find(HttpContext http) => http.Request.Query.TryGetValue(Name, out var sent) ? Read(Name, sent) : null;

    /// <summary>The number in the header <c>Last-Event-ID</c> of a reader that reconnects; null: it has none.</summary>
    /// <exception cref="UnreadableRequestException">The value has another form.</exception>
    public long? ReadLastEventId(HttpContext http) => http.Request.Headers.TryGetValue(LastEventId, out var last) ? Read(LastEventId, last) : null;

    /// <summary>Where the number of a request stands for which the header <c>Last-Event-ID</c> comes before the parameter.</summary>
    public string PlaceOrLastEventId(HttpContext http) => http.Request.Headers.ContainsKey(LastEventId) ? LastEventId : Name;

    /// <summary>Reads the number from another place, for example a header.</summary>
    public long Read(string place, Microsoft.Extensions.Primitives.StringValues sent) =>
        sent is [{ } text] && long.TryParse(text, Min < 0 ? NumberStyles.AllowLeadingSign : NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            && number >= Min && number <= Max
            ? number
            : throw new UnreadableRequestException(ErrorResult.Invalid(place, $"Must be a whole number from {Min} to {Max}."));
}

/// <summary>A query parameter with one of several words.</summary>
/// <param name="TypeName">What generated clients call the words; null: as the parameter is called, which several are.</param>
public sealed record ChoiceQuery(string Name, IReadOnlyList<string> Choices, string Default, string Description, string? TypeName = null) : IQueryParameter
{
    /// <exception cref="UnreadableRequestException">The value has another form.</exception>
    public string Read(HttpContext http) =>
        !http.Request.Query.TryGetValue(Name, out var sent) ? Default
        : sent is [{ } word] && Choices.Contains(word) ? word
        : throw new UnreadableRequestException(ErrorResult.Invalid(Name, $"Must be one of {string.Join(", ", Choices)}."));
}

/// <summary>A query parameter with text.</summary>
/// <param name="Default">Null: the parameter is required.</param>
public sealed record TextQuery(string Name, string? Default, string Description) : IQueryParameter
{
    /// <exception cref="UnreadableRequestException">The parameter is missing, empty or repeated.</exception>
    public string Read(HttpContext http) =>
        http.Request.Query.TryGetValue(Name, out var sent)
            ? sent is [{ Length: > 0 } text] ? text : throw new UnreadableRequestException(ErrorResult.Invalid(Name, "Must be given once, and not be empty."))
            : Default ?? throw new UnreadableRequestException(ErrorResult.Invalid(Name, "Is required."));
}

/// <summary>A query parameter with an ISO 8601 time.</summary>
public sealed record TimeQuery(string Name, string Description) : IQueryParameter
{
    public const string Wanted = "Must be a time of ISO 8601, like 2026-01-01T09:00:00Z.";

    static readonly string[] Forms = ["yyyy-MM-dd'T'HH:mm:ss.FFFFFFFK", "yyyy-MM-dd'T'HH:mmK", "yyyy-MM-dd"];

    /// <summary>Null: the request has no such parameter.</summary>
    /// <exception cref="UnreadableRequestException">The value has another form.</exception>
    public DateTimeOffset? Read(HttpContext http) =>
        !http.Request.Query.TryGetValue(Name, out var sent) ? null
        : Parse(sent is [{ } text] ? text : "") ?? throw new UnreadableRequestException(ErrorResult.Invalid(Name, $"{Wanted} A plus is written %2B."));

    /// <summary>Null: there is no text, or it has another form.</summary>
    public static DateTimeOffset? Parse(string? text) =>
        DateTimeOffset.TryParseExact(text, Forms, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time) ? time : null;
}

/// <summary>A query parameter with an id.</summary>
public sealed record IdQuery(string Name, string Description, bool IsRequired = false) : IQueryParameter
{
    /// <summary>Null: the request has no such parameter, and need not have it.</summary>
    /// <exception cref="UnreadableRequestException">It is missing, no id has this form, or nothing of this kind has this id.</exception>
    public TKey? Read<TKey>(HttpContext http)
        where TKey : struct, IKey<TKey> =>
        http.Request.Query.TryGetValue(Name, out var sent) ? PathIds.Key<TKey>(sent is [{ } id] ? id : "", Name)
        : IsRequired ? throw new UnreadableRequestException(ErrorResult.Invalid(Name, "Is required."))
        : null;
}

/// <summary>The query parameters of searches by words.</summary>
static class SearchQuery
{
    const int CharsMax = 1_000;

    public static TextQuery Words { get; } = new("q", null, "Words to look for.");

    /// <summary>Whoever would go further back asks for other words.</summary>
    public static WholeNumberQuery Offset { get; } = new("offset", 0, 1_000, 0, "So many of the list, from its beginning, are passed over.");

    /// <exception cref="UnreadableRequestException">There are no words, or none that can be looked for.</exception>
    public static string Read(HttpContext http)
    {
        var words = Words.Read(http);
        Check(Words.Name, words);
        return words;
    }

    /// <exception cref="UnreadableRequestException">It is too long, or no text.</exception>
    public static void Check(string name, string words)
    {
        if (words.Length > CharsMax || !StorableText.IsStorable(words))
        {
            throw new UnreadableRequestException(ErrorResult.Invalid(name, $"Must be text of at most {CharsMax} characters."));
        }
    }
}

/// <summary>The query parameter of lists by which things are found by their names.</summary>
static class NameQuery
{
    public static TextQuery Words { get; } = new("q", "", "Only those whose name has each of these words as a part, whatever the case.");

    /// <summary>Null: the request asks for no name.</summary>
    /// <param name="kind">Name of the things' aggregate.</param>
    /// <param name="session">The session whose things the list has; null: it has the tenant's.</param>
    /// <exception cref="UnreadableRequestException">It is too long, or no text, or asked of an earlier moment.</exception>
    public static NamedLike? Read(HttpContext http, string kind, SessionKey? session = null)
    {
        var words = Words.Read(http);
        SearchQuery.Check(Words.Name, words);
        var named = Names.Like(kind, words);
        return named is not null && http.Request.Query.ContainsKey(AsOf.Name)
            ? throw new UnreadableRequestException(AsOf.Unsupported("Names are found as they are now: leave q or as_of out."))
            : named is null ? null : named with { OfFew = session is not null };
    }
}

/// <summary>The query parameter with the id of a session.</summary>
static class SessionInQuery
{
    public static IdQuery Parameter { get; } = new("session_id", "Only of this session.");

    /// <summary>The session's key; null: the request has no such parameter.</summary>
    public static SessionKey? Read(HttpContext http) => Parameter.Read<SessionKey>(http);
}

/// <summary>The query parameters of all lists.</summary>
static class Lists
{
    const int Most = 1000;
    const int Usual = 100;

    public static WholeNumberQuery Limit { get; } = new("limit", 1, Most, Usual, "At most so many.");

    /// <summary>The limit of conversations, as contract B has it.</summary>
    public static WholeNumberQuery LimitOfConversations { get; } = new("limit", 1, 200, 50, "At most so many.");

    /// <summary>The limit of the tenant's runs.</summary>
    public static WholeNumberQuery LimitOfRuns { get; } = new("limit", 1, 200, 50, "At most so many.");

    /// <summary>The limit of projects and artifacts, for which contract B has a default alone.</summary>
    public static WholeNumberQuery LimitOfPage { get; } = new("limit", 1, Most, 50, "At most so many.");

    /// <summary>The limit of works, for which contract E has a default alone.</summary>
    public static WholeNumberQuery LimitOfWorks { get; } = new("limit", 1, Most, 25, "At most so many.");

    public static WholeNumberQuery Offset { get; } = new("offset", 0, int.MaxValue, 0, "So many of the list, from its beginning, are passed over.");

    /// <summary>The parameter says how much of a list is read.</summary>
    public static bool IsLimit(WholeNumberQuery query) => query == Limit || query == LimitOfPage || query == LimitOfConversations || query == LimitOfRuns || query == LimitOfWorks;

    /// <summary>The limit that a request asks for, as far as it can be read.</summary>
    public static int LimitOrMost(HttpContext http) =>
        !http.Request.Query.TryGetValue(Limit.Name, out var asked) ? Usual : int.TryParse(asked, out var limit) && limit is > 0 and < Most ? limit : Most;
}
