using System.Text;
using System.Text.Json;

namespace Cowork.Testing.Hosts;

/// <summary>The results of an agent's run as they come, as lines (<c>/agents/run</c>) or as events (<c>/agents/run-stream</c>).</summary>
public sealed class AgentStream : IDisposable
{
    const string Data = "data: ";

    readonly HttpResponseMessage answer;
    readonly StreamReader reader;

    AgentStream(HttpResponseMessage answer, Stream content) => (this.answer, reader) = (answer, new(content));

    /// <summary>Id of the last result that came.</summary>
    public long Last { get; private set; }

    /// <summary>Asks for a run, and answers when its stream begins.</summary>
    /// <param name="change">Of the request, before it is signed.</param>
    public static async Task<AgentStream> Open(HttpClient http, RequestSigner controller, string path, string body, Action<Signed>? change = null)
    {
        var signed = controller.Sign(http, path, body, change);
        using var request = new HttpRequestMessage(signed.Method, signed.Path) { Content = new StringContent(body, Encoding.UTF8) };
        foreach (var (name, value) in signed.Headers)
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }
        request.Content.Headers.ContentType = new("application/json");
        var answer = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        Assert.True(answer.IsSuccessStatusCode, answer.IsSuccessStatusCode ? null : $"{(int)answer.StatusCode}: {await answer.Content.ReadAsStringAsync()}");
        return new(answer, await answer.Content.ReadAsStreamAsync());
    }

    /// <summary>The next result; null: the host has ended the stream, or broken it off.</summary>
    public async Task<JsonElement?> Next()
    {
        using var deadline = new CancellationTokenSource(Patience.Limit);
        try
        {
            while (await reader.ReadLineAsync(deadline.Token) is { } line)
            {
                var json = line.StartsWith(Data, StringComparison.Ordinal) ? line[Data.Length..] : line;
                if (json.StartsWith('{'))
                {
                    var result = JsonElement.Parse(json);
                    Last = result.GetProperty("id").GetInt64();
                    return result;
                }
            }
        }
        catch (Exception e) when (e is IOException or HttpRequestException && !deadline.IsCancellationRequested)
        {
            // Broken off.
        }
        catch (OperationCanceledException)
        {
            throw new TimeoutException($"Nothing came for {Patience.Seconds} s after result {Last}.");
        }
        return null;
    }

    /// <summary>Results up to one that fits, that one included.</summary>
    public async Task<List<JsonElement>> Until(Func<JsonElement, bool> fits)
    {
        var seen = new List<JsonElement>();
        while (await Next() is { } result)
        {
            seen.Add(result);
            if (fits(result))
            {
                return seen;
            }
        }
        throw new InvalidOperationException($"The stream ended after result {Last}.");
    }

    /// <summary>Results up to one of a status.</summary>
    public Task<List<JsonElement>> UntilStatus(string status) => Until(result => result.TryGetProperty("status", out var of) && of.GetString() == status);

    /// <summary>What comes until the host ends the stream, or breaks it off.</summary>
    public async Task<List<JsonElement>> UntilEnd()
    {
        var seen = new List<JsonElement>();
        while (await Next() is { } result)
        {
            seen.Add(result);
        }
        return seen;
    }

    public void Dispose()
    {
        reader.Dispose();
        answer.Dispose();
    }
}
