using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>
/// A model behind HTTP. One call is one request; the caller retries, because it knows which part of the answer it has shown. Text arrives as it streams. Tool
/// calls and token usage arrive with the last update, so that a broken answer calls no tool.
/// </summary>
/// <exception cref="ModelException">The request failed for any reason except the caller's cancellation.</exception>
sealed class HttpModel(IWireFormat format, ModelSettings settings, HttpMessageInvoker http, TimeProvider clock) : IChatClient
{
    static readonly JsonWriterOptions WriterOptions = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    readonly ModelTerms terms = new(settings.Price, WireJson.OutputLimit(settings) ?? settings.MaxOutputTokens ?? format.DefaultOutputTokens, settings.Retries);
    readonly ChatClientMetadata metadata = new(settings.Provider, settings.BaseUrl ?? format.DefaultBaseUrl, settings.Model);

    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        if (!settings.IsReady)
        {
            throw new ModelException(ModelException.Refused, $"The model \"{settings.Name}\" has no key.") { IsUnbilled = true };
        }
        using var deadline = new ModelDeadline(settings.Timeouts, clock, cancellationToken);
        var prompt = PromptOf(messages, options);
        var body = Write(prompt);
        using var request = NewRequest(body);
        using var response = await Send(request, deadline);
        var answer = format.NewAnswer();
        await foreach (var (text, thinking) in IsDocument(response) ? ReadDocument(response, answer, deadline) : ReadStream(response, answer, deadline))
        {
            if (thinking is { Length: > 0 })
            {
                yield return new(ChatRole.Assistant, [new TextReasoningContent(thinking)]);
            }
            if (text is { Length: > 0 })
            {
                yield return new(ChatRole.Assistant, text);
            }
        }
        var end = answer.ToUpdate(prompt, body.Length);
        end.ModelId = WithoutSecrets(end.ModelId);
        end.FinishReason = WithoutSecrets(end.FinishReason?.Value) is { } reason ? new(reason) : null;
        yield return end;
    }

    /// <summary>The pieces of a stream of events. What came instead of one is told as the reason.</summary>
    async IAsyncEnumerable<WirePiece> ReadStream(HttpResponseMessage response, WireAnswer answer, ModelDeadline deadline)
    {
        await using var bytes = new AnswerStream(await OpenAnswer(response, deadline));
        await using var events = SseParser.Create(bytes).EnumerateAsync(deadline.Token).GetAsyncEnumerator(deadline.Token);
        while (!answer.IsDone && await MoveNext(events, answer, deadline))
        {
            var contents = answer.Contents;
            var piece = ReadEvent(answer, events.Current, bytes, deadline);
            if (answer.Contents > contents)
            {
                deadline.Renew();
            }
            yield return piece;
        }
        if (!answer.IsComplete && bytes.ReasonOfEnd() is { } reason)
        {
            throw WithUsage(reason.ToException(), answer);
        }
        RequireEnd(answer);
    }

    /// <summary>The whole answer of a server that does not stream.</summary>
    async IAsyncEnumerable<WirePiece> ReadDocument(HttpResponseMessage response, WireAnswer answer, ModelDeadline deadline)
    {
        var text = await ModelHttp.ReadText(response, deadline, AnswerStream.LineBytesMax);
        var piece = default(WirePiece);
        try
        {
            piece = answer.Read("", text);
        }
        catch (Exception e) when (e is ModelException or JsonException or InvalidOperationException)
        {
            throw NoStream(response, ProviderError.Read(text));
        }
        if (!answer.IsComplete)
        {
            throw NoStream(response, ProviderError.Read(text));
        }
        yield return piece;
        RequireEnd(answer);
    }

    static WirePrompt PromptOf(IEnumerable<ChatMessage> messages, ChatOptions? options) => new(messages, options?.Tools?.OfType<AIFunctionDeclaration>() ?? []);

    static bool IsDocument(HttpResponseMessage response) => response.Content.Headers.ContentType?.MediaType == "application/json";

    public object? GetService(Type serviceType, object? serviceKey = null) =>
        serviceKey is not null ? null
        : serviceType == typeof(ModelTerms) ? terms
        : serviceType == typeof(ChatClientMetadata) ? metadata
        : serviceType == typeof(RequestSize) ? new RequestSize((messages, options) => Write(PromptOf(messages, options)).Length)
        : serviceType.IsInstanceOfType(this) ? this
        : null;

    public void Dispose() => http.Dispose();

    /// <summary>A model with its own connection pool.</summary>
    public static HttpModel Create(IWireFormat format, ModelSettings settings, TimeProvider clock) =>
        new(format, settings, ModelHttp.Open(settings.Proxy, settings.Timeouts.Connect, clock), clock);

    ReadOnlyMemory<byte> Write(WirePrompt prompt)
    {
        var json = new ArrayBufferWriter<byte>(16 * 1024);
        using (var writer = new Utf8JsonWriter(json, WriterOptions))
        {
            format.WriteRequest(writer, settings, prompt);
        }
        return json.WrittenMemory;
    }

    HttpRequestMessage NewRequest(ReadOnlyMemory<byte> body)
    {
        var request = ModelHttp.NewRequest(format.Endpoint(settings.BaseUrl ?? format.DefaultBaseUrl), body, "text/event-stream");
        format.Authorize(request, settings.Key);
        return request;
    }

    async Task<HttpResponseMessage> Send(HttpRequestMessage request, ModelDeadline deadline)
    {
        var response = await ModelHttp.Send(http, settings.Name, settings.Key, request, deadline);
        try
        {
            if (response.StatusCode != HttpStatusCode.OK)
            {
                throw await ModelHttp.Refusal(settings.Name, settings.Key, response, deadline, clock);
            }
            if (response.Content.Headers.ContentType?.MediaType == "text/html")
            {
                throw NoStream(response, await ModelHttp.ReadError(response, deadline));
            }
            return response;
        }
        catch
        {
            response.Dispose();
            throw;
        }
    }

    /// <summary>The exception for an answer of status 200 that is no stream: a page to log in, or an error.</summary>
    ModelException NoStream(HttpResponseMessage response, ProviderError error)
    {
        var code = error.ToException() is { Code: ModelException.Unavailable } ? ModelException.Unavailable : ModelException.Refused;
        var reason = error.Reason.Length > 0 ? $": {error.Reason}" : ".";
        return new(code, Redact($"The model \"{settings.Name}\" answered {response.Content.Headers.ContentType?.MediaType} instead of a stream of events{reason}"))
        {
            RetryAfter = error.RetryAfter,
        };
    }

    static async Task<Stream> OpenAnswer(HttpResponseMessage response, ModelDeadline deadline)
    {
        try
        {
            return await ContentCoding.Open(response.Content, deadline.Token);
        }
        catch (OperationCanceledException e) when (deadline.DescribeTimeout(e) is { } timedOut)
        {
            throw timedOut;
        }
        catch (Exception e) when (e is HttpRequestException or IOException or InvalidDataException)
        {
            throw new ModelException(ModelException.Failed, "The model's answer was cut off.", e);
        }
    }

    /// <summary>Moves to the next event. False: the stream has ended, or the answer is complete and nothing more comes.</summary>
    async ValueTask<bool> MoveNext(IAsyncEnumerator<SseItem<string>> events, WireAnswer answer, ModelDeadline deadline)
    {
        try
        {
            return await events.MoveNextAsync();
        }
        catch (OperationCanceledException e) when (deadline.DescribeTimeout(e) is { } timedOut)
        {
            return answer.IsComplete ? false : throw WithUsage(timedOut, answer);
        }
        catch (ModelException e)
        {
            throw WithUsage(e, answer);
        }
        catch (Exception e) when (e is HttpRequestException or IOException or InvalidDataException)
        {
            return answer.IsComplete ? false : throw WithUsage(new(ModelException.Failed, "The model's answer was cut off.", e), answer);
        }
    }

    WirePiece ReadEvent(WireAnswer answer, SseItem<string> item, AnswerStream bytes, ModelDeadline deadline)
    {
        if (string.IsNullOrWhiteSpace(item.Data) || item.EventType is "ping" or "heartbeat" or "keepalive" or "keep-alive")
        {
            return default;
        }
        try
        {
            return Read(answer, item, deadline.Token);
        }
        catch (OperationCanceledException e) when (deadline.DescribeTimeout(e) is { } timedOut)
        {
            throw WithUsage(timedOut, answer);
        }
        catch (ModelException e)
        {
            throw WithUsage(e, answer);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            if (bytes.HasEnded && answer.IsComplete)
            {
                // The stream was cut off in what comes after the answer's end.
                return default;
            }
            // An answer with a gap would be worse than none.
            var message = bytes.HasEnded ? "The model's answer was cut off." : "The model's answer contains an event that is not of its format.";
            throw WithUsage(new(ModelException.Failed, message, e), answer);
        }
    }

    /// <summary>Reads an event, or several that no blank line keeps apart.</summary>
    static WirePiece Read(WireAnswer answer, SseItem<string> item, CancellationToken ct)
    {
        if (!item.Data.Contains('\n', StringComparison.Ordinal) || IsJson(item.Data))
        {
            return answer.Read(item.EventType, item.Data);
        }
        var (text, thinking) = (new StringBuilder(), new StringBuilder());
        foreach (var range in item.Data.AsSpan().Split('\n'))
        {
            ct.ThrowIfCancellationRequested();
            var line = item.Data.AsSpan()[range];
            if (!line.IsWhiteSpace())
            {
                var piece = answer.Read(item.EventType, line.ToString());
                text.Append(piece.Text);
                thinking.Append(piece.Thinking);
            }
        }
        return new(text.ToString(), thinking.ToString());
    }

    static bool IsJson(string text)
    {
        try
        {
            var reader = new Utf8JsonReader(Encoding.UTF8.GetBytes(text));
            while (reader.Read())
            {
                // Only whether it can be read to its end counts.
            }
            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    void RequireEnd(WireAnswer answer)
    {
        try
        {
            answer.RequireEnd();
        }
        catch (ModelException e)
        {
            throw WithUsage(e, answer);
        }
    }

    /// <summary>The exception without secrets, and with what the broken answer used.</summary>
    ModelException WithUsage(ModelException e, WireAnswer answer) =>
        new(e.Code, Redact(e.Message), e.InnerException) { RetryAfter = e.RetryAfter, Usage = answer.Reported };

    string Redact(string text) => ModelHttp.Redact(text, settings.Key);

    [return: NotNullIfNotNull(nameof(text))]
    string? WithoutSecrets(string? text) => ModelHttp.WithoutSecrets(text, settings.Key);
}
