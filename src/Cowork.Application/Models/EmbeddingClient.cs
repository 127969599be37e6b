using System.Buffers;
using System.Net;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Cowork.Application.Models;

/// <summary>
/// An embedding model behind <c>POST /embeddings</c> in OpenAI's form: <c>{"model":…,"input":[…]}</c>, answered by <c>{"data":[{"index":0,"embedding":[…]},…]}</c>.
/// What comes back is taken only when it is one vector for each text, of the model's dimensions, of finite numbers, and not all zero.
/// </summary>
public sealed class EmbeddingClient(EmbeddingSettings settings, TimeProvider clock) : IDisposable
{
    /// <summary>Characters of one number, and of what stands around the numbers of one vector, in an answer.</summary>
    const int NumberBytesMax = 40, VectorBytesMax = 4_096;

    static readonly JsonWriterOptions WriterOptions = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    readonly HttpMessageInvoker http = ModelHttp.Open(settings.Proxy, settings.Connect, clock);
    readonly Uri endpoint = new($"{settings.BaseUrl.GetLeftPart(UriPartial.Path).TrimEnd('/')}/embeddings{settings.BaseUrl.Query}");

    public EmbeddingSettings Settings => settings;

    /// <summary>The vectors of texts, in their order. What may succeed later is tried again, as often as the settings say.</summary>
    /// <exception cref="ModelException">There are none. The message holds no secret.</exception>
    public async Task<IReadOnlyList<float[]>> Embed(IReadOnlyList<string> texts, CancellationToken ct)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                return await Ask(texts, settings.Answer, ct);
            }
            catch (ModelException e) when (e.Code == ModelException.Unavailable && settings.Retries.DelayAfter(attempt, e.RetryAfter, settings.Model) is { } delay)
            {
                await Task.Delay(delay, clock, ct);
            }
        }
    }

    /// <summary>The vector of a query, which somebody waits for: one attempt, within a short time.</summary>
    /// <exception cref="ModelException">There is none.</exception>
    public async Task<float[]> EmbedQuery(string text, CancellationToken ct) => (await Ask([text], settings.Query, ct))[0];

    public void Dispose() => http.Dispose();

    async Task<IReadOnlyList<float[]>> Ask(IReadOnlyList<string> texts, TimeSpan limit, CancellationToken ct)
    {
        using var deadline = new ModelDeadline(new(settings.Connect, limit, limit, limit), clock, ct);
        using var request = ModelHttp.NewRequest(endpoint, Write(texts), "application/json");
        if (settings.Key is { } key)
        {
            request.Headers.Authorization = new("Bearer", key);
        }
        using var response = await ModelHttp.Send(http, settings.Model, settings.Key, request, deadline);
        if (response.StatusCode != HttpStatusCode.OK)
        {
            throw await ModelHttp.Refusal(settings.Model, settings.Key, response, deadline, clock);
        }
        var bytesMax = texts.Count * ((settings.Dimensions * NumberBytesMax) + VectorBytesMax);
        var answer = await ModelHttp.ReadText(response, deadline, bytesMax);
        ct.ThrowIfCancellationRequested();
        if (deadline.Token.IsCancellationRequested)
        {
            throw new ModelException(ModelException.Unavailable, $"The model \"{settings.Model}\" did not answer within {limit}.");
        }
        try
        {
            return Read(JsonElement.Parse(answer), texts.Count);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or KeyNotFoundException)
        {
            throw Odd("no list of vectors", e);
        }
    }

    ReadOnlyMemory<byte> Write(IReadOnlyList<string> texts)
    {
        var json = new ArrayBufferWriter<byte>(16 * 1024);
        using var writer = new Utf8JsonWriter(json, WriterOptions);
        writer.WriteStartObject();
        if (!settings.Request.ContainsKey("model"))
        {
            writer.WriteString("model", settings.Model);
        }
        if (!settings.Request.ContainsKey("input"))
        {
            writer.WriteStartArray("input");
            foreach (var text in texts)
            {
                writer.WriteStringValue(text);
            }
            writer.WriteEndArray();
        }
        foreach (var (name, value) in settings.Request)
        {
            writer.WritePropertyName(name);
            value.WriteTo(writer);
        }
        writer.WriteEndObject();
        writer.Flush();
        return json.WrittenMemory;
    }

    float[][] Read(JsonElement answer, int count)
    {
        var vectors = new float[count][];
        var data = answer.GetProperty("data");
        if (data.GetArrayLength() != count)
        {
            throw Odd($"{data.GetArrayLength()} vectors for {count} texts");
        }
        foreach (var (place, item) in data.EnumerateArray().Index())
        {
            var index = item.TryGetProperty("index", out var said) ? said.GetInt32() : place;
            if (index < 0 || index >= count || vectors[index] is not null)
            {
                throw Odd($"no vector for each of {count} texts");
            }
            var numbers = item.GetProperty("embedding");
            if (numbers.GetArrayLength() != settings.Dimensions)
            {
                throw Odd($"vectors of {numbers.GetArrayLength()} dimensions, where Cowork__Embeddings__Dimensions is {settings.Dimensions}");
            }
            float[] vector = [.. numbers.EnumerateArray().Select(number => number.GetSingle())];
            if (!vector.All(float.IsFinite) || vector.All(number => number == 0))
            {
                throw Odd("a vector that has no direction");
            }
            vectors[index] = vector;
        }
        return vectors;
    }

    ModelException Odd(string what, Exception? e = null) => new(ModelException.Failed, $"The model \"{settings.Model}\" answered {what}.", e);
}
