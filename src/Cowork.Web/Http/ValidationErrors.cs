namespace Cowork.Web.Http;

/// <summary>The errors of a request, by JSON path, query parameter or header.</summary>
public sealed class ValidationErrors
{
    /// <summary>Errors that an answer lists; further ones are dropped.</summary>
    const int Max = 20;

    readonly Dictionary<string, List<string>> found = [];
    int count;

    public bool Any => count > 0;

    /// <summary>Further errors would not be told, so nobody need look for them.</summary>
    public bool IsFull => count >= Max;

    public void Add(string path, string detail)
    {
        if (count++ >= Max)
        {
            return;
        }
        if (!found.TryGetValue(path, out var here))
        {
            found.Add(path, here = []);
        }
        here.Add(detail);
    }

    public ErrorResult ToError()
    {
        var first = found.First();
        var detail = found.Count == 1 && first.Value.Count == 1 ? $"{first.Key}: {first.Value[0]}" : "Several things are wrong; see errors.";
        return new(422, "invalid_request", detail, found.ToDictionary(f => f.Key, f => (IReadOnlyList<string>)f.Value));
    }

    /// <exception cref="UnreadableRequestException">The request has an error.</exception>
    public void ThrowIfAny()
    {
        if (Any)
        {
            throw new UnreadableRequestException(ToError());
        }
    }
}
