using System.Globalization;

using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>The key of a thing that the path names by its id.</summary>
public sealed record PathKey<TKey>(TKey Key)
    where TKey : struct, IKey<TKey>
{
    /// <exception cref="UnreadableRequestException">422: no id has this form. 404: nothing of this kind has this id.</exception>
    public static ValueTask<PathKey<TKey>> BindAsync(HttpContext http)
    {
        var name = PathIds.ParameterOf(TKey.FieldName, http.Request.RouteValues);
        return ValueTask.FromResult(new PathKey<TKey>(PathIds.Key<TKey>((string?)http.Request.RouteValues[name] ?? "", name)));
    }
}

/// <summary>The version number in a path.</summary>
public sealed record VersionInPath(int Number)
{
    public const string Name = "version";

    public static ValueTask<VersionInPath> BindAsync(HttpContext http) =>
        int.TryParse((string?)http.Request.RouteValues[Name], NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0
            ? ValueTask.FromResult(new VersionInPath(number))
            : throw new UnreadableRequestException(ErrorResult.Invalid(Name, "A version is a whole number from 1."));
}

static class PathIds
{
    /// <summary>Characters of an id with its prefix: a client's own may have as many as <see cref="Limits.IdCharsMax"/> without it.</summary>
    public const int CharsMax = Limits.IdCharsMax + 6;

    /// <summary>The path parameter that holds an id: named like its field, or as contract C calls it, in camelCase, where a run is a task.</summary>
    /// <param name="fieldName"><c>session_id</c>.</param>
    public static string ParameterOf(string fieldName, RouteValueDictionary values) => values.ContainsKey(fieldName) ? fieldName : fieldName switch
    {
        "run_id" => "taskId",
        _ => fieldName.Replace("_id", "Id", StringComparison.Ordinal),
    };

    /// <summary>The key of an id from a path, a query or a body.</summary>
    /// <param name="place">The parameter, or the JSON path of the field.</param>
    /// <exception cref="UnreadableRequestException">422: no id has this form. 404: nothing of this kind has this id.</exception>
    public static TKey Key<TKey>(string id, string place)
        where TKey : struct, IKey<TKey>
    {
        if (id.Length is 0 or > CharsMax || !id.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-'))
        {
            throw new UnreadableRequestException(ErrorResult.Invalid(place, $"An id has 1 to {CharsMax} letters, digits, dots, underscores and hyphens."));
        }
        return TKey.Parse(id) ?? throw new UnreadableRequestException(ErrorResult.NotFound(TKey.Noun));
    }
}
