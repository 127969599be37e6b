using System.Buffers;
using System.Net;
using System.Net.Http.Headers;
using System.Net.ServerSentEvents;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
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
    /// <summary>Bytes of an error response that are read, and characters of its message that are kept.</summary>
    const int RefusalBytesMax = 16 * 1024;
    const int ReasonCharsMax = 300;

    static readonly JsonWriterOptions WriterOptions = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    readonly ModelTerms terms = new(settings.Price, settings.MaxOutputTokens, settings.Retries);
    readonly ChatClientMetadata metadata = new(settings.Provider, settings.BaseUrl ?? format.DefaultBaseUrl, settings.Model);

    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        if (!settings.IsReady)
        {
            throw new ModelException(ModelException.Refused, $"The model \"{settings.Name}\" has no key.");
        }
        using var deadline = new ModelDeadline(settings.Timeouts, clock, cancellationToken);
        using var request = NewRequest(messages, options);
        using var response = await Send(request, deadline);
        deadline.Renew();
        await using var bytes = new AnswerStream(await response.Content.ReadAsStreamAsync(deadline.Token), deadline.Renew);
        await using var events = SseParser.Create(bytes).EnumerateAsync(deadline.Token).GetAsyncEnumerator(deadline.Token);
        var answer = format.NewAnswer();
        while (!answer.IsDone && await MoveNext(events, answer, deadline))
        {
            if (ReadEvent(answer, events.Current) is { Length: > 0 } text)
            {
                yield return new(ChatRole.Assistant, text) { ModelId = answer.ModelId };
            }
        }
        yield return answer.ToUpdate();
    }

    public object? GetService(Type serviceType, object? serviceKey = null) =>
        serviceKey is not null ? null
        : serviceType == typeof(ModelTerms) ? terms
        : serviceType == typeof(ChatClientMetadata) ? metadata
        : serviceType.IsInstanceOfType(this) ? this
        : null;

    public void Dispose() => http.Dispose();

    /// <summary>A model with its own connection pool.</summary>
    public static HttpModel Create(IWireFormat format, ModelSettings settings, TimeProvider clock) => new(format, settings, new(new SocketsHttpHandler
    {
        // A redirect would send the key to another server.
        AllowAutoRedirect = false,
        UseCookies = false,
        // The provider must not see the ids of our traces.
        ActivityHeadersPropagator = null,
        PooledConnectionLifetime = TimeSpan.FromMinutes(5),
        // Closes the connection of a cancelled answer at once, so that the provider stops.
        MaxResponseDrainSize = 0,
        ConnectCallback = (context, ct) => Connect(context.DnsEndPoint, settings.Timeouts.Connect, clock, ct),
    }), clock);

    /// <summary>The exception for an error event in the middle of an answer.</summary>
    public static ModelException StreamError(JsonElement error)
    {
        var kind = error.Member("type").Text() ?? error.Member("code").TextOrJson() ?? "";
        var refused = kind is "invalid_request_error" or "authentication_error" or "permission_error" or "not_found_error" or "request_too_large"
            or "400" or "401" or "403" or "404";
        var busy = kind is "overloaded_error" or "rate_limit_error" or "server_error" or "503" or "529" or "429";
        return new(
            refused ? ModelException.Refused : busy ? ModelException.Unavailable : ModelException.Failed,
            $"The model broke off its answer: {error.Member("message").Text() ?? error.Text() ?? kind}");
    }

    static async ValueTask<Stream> Connect(DnsEndPoint endpoint, TimeSpan limit, TimeProvider clock, CancellationToken ct)
    {
        using var timeout = new CancellationTokenSource(limit, clock);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(ct, timeout.Token);
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(endpoint, linked.Token);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (OperationCanceledException) when (timeout.IsCancellationRequested && !ct.IsCancellationRequested)
        {
            socket.Dispose();
            throw new TimeoutException($"no connection within {limit}");
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    HttpRequestMessage NewRequest(IEnumerable<ChatMessage> messages, ChatOptions? options)
    {
        var json = new ArrayBufferWriter<byte>(16 * 1024);
        using (var writer = new Utf8JsonWriter(json, WriterOptions))
        {
            format.WriteRequest(writer, settings, messages, options?.Tools?.OfType<AIFunctionDeclaration>() ?? []);
        }
        var request = new HttpRequestMessage(HttpMethod.Post, format.Endpoint(settings.BaseUrl ?? format.DefaultBaseUrl))
        {
            Content = new ReadOnlyMemoryContent(json.WrittenMemory),
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionOrLower,
        };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        request.Headers.Accept.Add(new("text/event-stream"));
        request.Headers.UserAgent.Add(new("cowork", null));
        format.Authorize(request, settings.Key);
        return request;
    }

    async Task<HttpResponseMessage> Send(HttpRequestMessage request, ModelDeadline deadline)
    {
        HttpResponseMessage response;
        try
        {
            response = await http.SendAsync(request, deadline.Token);
        }
        catch (OperationCanceledException e) when (deadline.DescribeTimeout(e) is { } timedOut)
        {
            throw timedOut;
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            throw new ModelException(ModelException.Unavailable, Redact($"The model \"{settings.Name}\" cannot be reached: {e.Message}"), e);
        }
        try
        {
            if (response.StatusCode != HttpStatusCode.OK)
            {
                throw await ReadRefusal(response, deadline);
            }
            if (response.Content.Headers.ContentType?.MediaType is "text/html" or "application/json")
            {
                throw new ModelException(
                    ModelException.Refused, $"The model \"{settings.Name}\" answered {response.Content.Headers.ContentType.MediaType} instead of a stream of events.");
            }
            return response;
        }
        catch
        {
            response.Dispose();
            throw;
        }
    }

    async Task<ModelException> ReadRefusal(HttpResponseMessage response, ModelDeadline deadline)
    {
        var status = (int)response.StatusCode;
        var (reason, kind) = await ReadReason(response, deadline);
        // An account without credit also gets 429, and waiting does not help.
        var mayRetry = status is 408 or 409 or 425 or 429 or >= 500 && kind != "insufficient_quota";
        var detail = status switch
        {
            // The provider's own message contains parts of the key.
            401 or 403 => settings.Key is null ? ": it requires a key" : ": it rejects the key",
            >= 300 and < 400 => ": it redirects to another address; configure that address",
            _ => reason.Length > 0 ? $": {reason}" : "",
        };
        return new(mayRetry ? ModelException.Unavailable : ModelException.Refused, $"The model \"{settings.Name}\" answered {status}{detail}")
        {
            RetryAfter = mayRetry ? RetryDelay(response.Headers.RetryAfter) : null,
        };
    }

    TimeSpan? RetryDelay(RetryConditionHeaderValue? header)
    {
        var delay = header?.Delta ?? header?.Date - clock.GetUtcNow();
        return delay < TimeSpan.Zero ? TimeSpan.Zero : delay;
    }

    async Task<(string Reason, string? Kind)> ReadReason(HttpResponseMessage response, ModelDeadline deadline)
    {
        try
        {
            var buffer = new byte[RefusalBytesMax];
            await using var body = await response.Content.ReadAsStreamAsync(deadline.Token);
            var length = await body.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, deadline.Token);
            var json = JsonElement.Parse(buffer.AsSpan(0, length));
            var error = json.Member("error");
            var message = error.Member("message").Text() ?? error.Text() ?? json.Member("message").Text() ?? json.Member("detail").Text() ?? "";
            return (Redact(message), error.Member("code").Text() ?? error.Member("type").Text());
        }
        catch (OperationCanceledException e) when (deadline.DescribeTimeout(e) is not null)
        {
            return ("", null);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or HttpRequestException or IOException)
        {
            // The body is a proxy's page or empty; the status must suffice.
            return ("", null);
        }
    }

    /// <summary>Moves to the next event. False: the stream has ended and the answer is complete.</summary>
    static async ValueTask<bool> MoveNext(IAsyncEnumerator<SseItem<string>> events, WireAnswer answer, ModelDeadline deadline)
    {
        bool hasNext;
        try
        {
            hasNext = await events.MoveNextAsync();
        }
        catch (OperationCanceledException e) when (deadline.DescribeTimeout(e) is { } timedOut)
        {
            throw timedOut;
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            if (answer.IsComplete)
            {
                return false;
            }
            throw new ModelException(ModelException.Failed, "The model's answer was cut off.", e);
        }
        return hasNext || answer.IsComplete ? hasNext : throw new ModelException(ModelException.Failed, "The model's answer ended before it was complete.");
    }

    string? ReadEvent(WireAnswer answer, SseItem<string> item)
    {
        try
        {
            return answer.Read(item.EventType, item.Data);
        }
        catch (ModelException e)
        {
            // The provider's message may repeat the key: remove it before cutting the message.
            throw new ModelException(e.Code, Redact(e.Message));
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // An answer with a gap would be worse than none.
            throw new ModelException(ModelException.Failed, "The model's answer contains an event that is not of its format.", e);
        }
    }

    string Redact(string text) => Shorten(settings.Key is { } key ? text.Replace(key, "***", StringComparison.Ordinal) : text);

    static string Shorten(string text) => FileText.Truncate(FileText.OneLine(text), ReasonCharsMax);
}
