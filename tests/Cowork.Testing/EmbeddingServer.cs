using System.Globalization;

namespace Cowork.Testing;

/// <summary>
/// An embedding model on a loopback port. Its vectors say how many words of a text mean each of a few things, so that "boat" is near "ferry" and shares no letter with it.
/// </summary>
public sealed class EmbeddingServer : IAsyncDisposable
{
    public const int Dimensions = 5;

    static readonly string[][] Meanings = [["boat", "ferry", "ship"], ["money", "refund", "bank"], ["bird", "heron", "owl"], ["road", "street", "path"]];

    readonly ModelServer server = new();

    public EmbeddingServer() => Mend();

    public Uri Url => server.Url;

    /// <summary>Requests until now.</summary>
    public int Requests => server.Asked.Count;

    /// <summary>Every text that was sent, in order.</summary>
    public IReadOnlyList<string> Texts => [.. server.Asked.SelectMany(asked => asked.Body.GetProperty("input").EnumerateArray()).Select(text => text.GetString()!)];

    public IReadOnlyList<ModelServer.Exchange> Asked => [.. server.Asked];

    /// <summary>Answers every request so from now on.</summary>
    public void Break(Func<ModelServer.Exchange, Task> answer) => server.Otherwise = answer;

    public void Break(int status, string body) => Break(asked => Answer(asked, status, body));

    /// <summary>Answers as a model does from now on.</summary>
    public void Mend() => Break(asked => Answer(
        asked, 200, $$$"""{"object":"list","data":[{{{string.Join(',', Items(asked, VectorOf))}}}],"model":"spec","usage":{"prompt_tokens":1,"total_tokens":1}}"""));

    /// <summary>The members of <c>data</c> for a request's texts, last first, because their order is not promised.</summary>
    public static IEnumerable<string> Items(ModelServer.Exchange asked, Func<string, float[]> vector) => asked.Body.GetProperty("input").EnumerateArray()
        .Select((text, place) => $$$"""{"object":"embedding","index":{{{place}}},"embedding":[{{{Numbers(vector(text.GetString()!))}}}]}""").Reverse();

    public static float[] VectorOf(string text)
    {
        var words = text.ToLowerInvariant().Split([' ', '\n', '.', ',', '?'], StringSplitOptions.RemoveEmptyEntries);
        return [.. Meanings.Select(meaning => (float)words.Count(meaning.Contains)), 0.125f];
    }

    public static async Task Answer(ModelServer.Exchange asked, int status, string body)
    {
        await asked.Head(status, "application/json");
        await asked.Send(body);
        await asked.End();
    }

    public ValueTask DisposeAsync() => server.DisposeAsync();

    static string Numbers(float[] vector) => string.Join(',', vector.Select(number => number.ToString("R", CultureInfo.InvariantCulture)));
}
