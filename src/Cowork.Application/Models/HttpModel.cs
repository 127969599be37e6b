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
/// A model behind HTTP. One call is one request: asking again is the caller's affair, who knows what was shown of the answer. Text comes as it
/// streams; what the model asks for, and what it used, comes with the last update, so that a broken answer asks for nothing.
/// </summary>
/// <exception cref="ModelException">Whatever went wrong on the way, but for the caller's own cancelling.</exception>
sealed class HttpModel(IWireFormat format, ModelSettings settings, HttpMessageInvoker http, TimeProvider clock) : IChatClient
{
    /// <summary>What is read of a refusal, and what of its words is kept.</summary>
    const int RefusalBytesMax = 16 * 1024;
    const int ReasonCharsMax = 300;

    static readonly JsonWriterOptions Writing = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    readonly ModelTerms terms = new(settings.Price, settings.MaxOutputTokens, settings.Retries);
    readonly ChatClientMetadata metadata = new(settings.Provider, settings.BaseUrl ?? format.Home, settings.Model);

    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        if (!settings.IsReady)
        {
            throw new ModelException(ModelException.Refused, $"The model \"{settings.Name}\" has no key.");
        }
        using var patience = new ModelDeadline(settings.Timeouts, clock, cancellationToken);
        using var request = Request(messages, options);
        using var response = await Send(request, patience);
        patience.Renew();
        await using var bytes = new AnswerStream(await response.Content.ReadAsStreamAsync(patience.Token), patience.Renew);
        await using var events = SseParser.Create(bytes).EnumerateAsync(patience.Token).GetAsyncEnumerator(patience.Token);
        var answer = format.Begin();
        while (!answer.IsDone && await Next(events, answer, patience))
        {
            if (Take(answer, events.Current) is { Length: > 0 } text)
            {
                yield return new(ChatRole.Assistant, text) { ModelId = answer.ModelId };
            }
        }
        yield return answer.End();
    }

    public object? GetService(Type serviceType, object? serviceKey = null) =>
        serviceKey is not null ? null
        : serviceType == typeof(ModelTerms) ? terms
        : serviceType == typeof(ChatClientMetadata) ? metadata
        : serviceType.IsInstanceOfType(this) ? this
        : null;

    public void Dispose() => http.Dispose();

    /// <summary>A model with connections of its own.</summary>
    public static HttpModel Over(IWireFormat format, ModelSettings settings, TimeProvider clock) => new(format, settings, new(new SocketsHttpHandler
    {
        // A redirect would carry the key to whom it was not given for.
        AllowAutoRedirect = false,
        UseCookies = false,
        // The ids of our traces are nothing to the provider.
        ActivityHeadersPropagator = null,
        PooledConnectionLifetime = TimeSpan.FromMinutes(5),
        // An answer that nobody wants any more is not read to its end: the provider hears at once that it can stop.
        MaxResponseDrainSize = 0,
        ConnectCallback = (context, ct) => Connect(context.DnsEndPoint, settings.Timeouts.Connect, clock, ct),
    }), clock);

    /// <summary>What a provider reports in the middle of its answer.</summary>
    public static ModelException SaidItself(JsonElement error)
    {
        var kind = error.Member("type").Text() ?? error.Member("code").TextOrJson() ?? "";
        var refused = kind is "invalid_request_error" or "authentication_error" or "permission_error" or "not_found_error" or "request_too_large"
            or "400" or "401" or "403" or "404";
        var busy = kind is "overloaded_error" or "rate_limit_error" or "server_error" or "503" or "529" or "429";
        return new(
            refused ? ModelException.Refused : busy ? ModelException.Unavailable : ModelException.Failed,
            $"The model broke off its answer: {error.Member("message").Text() ?? error.Text() ?? kind}");
    }

    static async ValueTask<Stream> Connect(DnsEndPoint to, TimeSpan within, TimeProvider clock, CancellationToken ct)
    {
        using var late = new CancellationTokenSource(within, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(ct, late.Token);
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(to, either.Token);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (OperationCanceledException) when (late.IsCancellationRequested && !ct.IsCancellationRequested)
        {
            socket.Dispose();
            throw new TimeoutException($"no connection within {within}");
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    HttpRequestMessage Request(IEnumerable<ChatMessage> messages, ChatOptions? options)
    {
        var json = new ArrayBufferWriter<byte>(16 * 1024);
        using (var writer = new Utf8JsonWriter(json, Writing))
        {
            format.WriteRequest(writer, settings, messages, options?.Tools?.OfType<AIFunctionDeclaration>() ?? []);
        }
        var request = new HttpRequestMessage(HttpMethod.Post, format.Address(settings.BaseUrl ?? format.Home))
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

    async Task<HttpResponseMessage> Send(HttpRequestMessage request, ModelDeadline patience)
    {
        HttpResponseMessage response;
        try
        {
            response = await http.SendAsync(request, patience.Token);
        }
        catch (OperationCanceledException e) when (patience.Over(e) is { } over)
        {
            throw over;
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            throw new ModelException(ModelException.Unavailable, Clean($"The model \"{settings.Name}\" cannot be reached: {e.Message}"), e);
        }
        try
        {
            if (response.StatusCode != HttpStatusCode.OK)
            {
                throw await Refusal(response, patience);
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

    async Task<ModelException> Refusal(HttpResponseMessage response, ModelDeadline patience)
    {
        var status = (int)response.StatusCode;
        var (reason, kind) = await Reason(response, patience);
        // An account without money gets 429, too; waiting does not fill it.
        var mayRetry = status is 408 or 409 or 425 or 429 or >= 500 && kind != "insufficient_quota";
        var words = status switch
        {
            // What the provider says here holds parts of the key.
            401 or 403 => settings.Key is null ? ": it wants a key" : ": it does not take the key",
            >= 300 and < 400 => ": it sends us elsewhere; configure that address",
            _ => reason.Length > 0 ? $": {reason}" : "",
        };
        return new(mayRetry ? ModelException.Unavailable : ModelException.Refused, $"The model \"{settings.Name}\" answered {status}{words}")
        {
            RetryAfter = mayRetry ? Wanted(response.Headers.RetryAfter) : null,
        };
    }

    TimeSpan? Wanted(RetryConditionHeaderValue? header)
    {
        var wait = header?.Delta ?? header?.Date - clock.GetUtcNow();
        return wait < TimeSpan.Zero ? TimeSpan.Zero : wait;
    }

    async Task<(string Reason, string? Kind)> Reason(HttpResponseMessage response, ModelDeadline patience)
    {
        try
        {
            var buffer = new byte[RefusalBytesMax];
            await using var body = await response.Content.ReadAsStreamAsync(patience.Token);
            var length = await body.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, patience.Token);
            var json = JsonElement.Parse(buffer.AsSpan(0, length));
            var error = json.Member("error");
            var words = error.Member("message").Text() ?? error.Text() ?? json.Member("message").Text() ?? json.Member("detail").Text() ?? "";
            return (Clean(words), error.Member("code").Text() ?? error.Member("type").Text());
        }
        catch (OperationCanceledException e) when (patience.Over(e) is not null)
        {
            return ("", null);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or HttpRequestException or IOException)
        {
            // A page of a proxy, or nothing: the status has to do.
            return ("", null);
        }
    }

    /// <summary>Moves on; false: the stream has ended, and nothing is missing.</summary>
    static async ValueTask<bool> Next(IAsyncEnumerator<SseItem<string>> events, WireAnswer answer, ModelDeadline patience)
    {
        bool more;
        try
        {
            more = await events.MoveNextAsync();
        }
        catch (OperationCanceledException e) when (patience.Over(e) is { } over)
        {
            throw over;
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            if (answer.IsWhole)
            {
                return false;
            }
            throw new ModelException(ModelException.Failed, "The model's answer was cut off.", e);
        }
        return more || answer.IsWhole ? more : throw new ModelException(ModelException.Failed, "The model's answer ended before it was whole.");
    }

    string? Take(WireAnswer answer, SseItem<string> item)
    {
        try
        {
            return answer.Take(item.EventType, item.Data);
        }
        catch (ModelException e)
        {
            // Its words are the provider's: they may repeat the key, and are cut only when it is out.
            throw new ModelException(e.Code, Clean(e.Message));
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // An answer with a hole in it would be worse than none.
            throw new ModelException(ModelException.Failed, "The model's answer holds a piece that is not of its format.", e);
        }
    }

    string Clean(string words) => Brief(settings.Key is { } key ? words.Replace(key, "***", StringComparison.Ordinal) : words);

    static string Brief(string words) => FileText.Cut(FileText.OneLine(words), ReasonCharsMax);
}
