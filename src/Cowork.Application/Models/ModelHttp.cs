using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;

using Cowork.Application.Storage;

namespace Cowork.Application.Models;

/// <summary>What requests to models of every kind have in common: connections that a key does not leak through, and sentences about failures that hold none.</summary>
static class ModelHttp
{
    /// <summary>Bytes of an error response that are read, and characters of its message that are kept.</summary>
    const int RefusalBytesMax = 64 * 1024;
    const int ReasonCharsMax = 2_000;

    /// <summary>Characters of a provider's words that are searched for secrets; what is kept is the beginning of them.</summary>
    const int SearchedCharsMax = 16_384;

    /// <summary>Connections of one model's own.</summary>
    /// <param name="connect">The longest time until a connection stands.</param>
    public static HttpMessageInvoker Open(Uri? proxy, TimeSpan connect, TimeProvider clock) => new(new SocketsHttpHandler
    {
        // A redirect would send the key to another server.
        AllowAutoRedirect = false,
        UseCookies = false,
        // A proxy of the environment would get the key: one is used only when the model's settings name it.
        UseProxy = proxy is not null,
        Proxy = proxy is null ? null : new WebProxy(proxy) { Credentials = CredentialsOf(proxy) },
        // The provider must not see the ids of our traces.
        ActivityHeadersPropagator = null,
        PooledConnectionLifetime = TimeSpan.FromMinutes(5),
        // Closes the connection of a cancelled answer at once, so that the provider stops.
        MaxResponseDrainSize = 0,
        ConnectCallback = (context, ct) => Connect(context.DnsEndPoint, connect, clock, ct),
    });

    public static HttpRequestMessage NewRequest(Uri url, ReadOnlyMemory<byte> json, string accept)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, url)
        {
            Content = new ReadOnlyMemoryContent(json),
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionOrLower,
        };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        request.Headers.Accept.Add(new(accept));
        // A compressed stream arrives in lumps. One that is compressed all the same is read.
        request.Headers.AcceptEncoding.Add(new("identity"));
        request.Headers.UserAgent.Add(new("cowork", null));
        return request;
    }

    /// <summary>The head of the answer, whatever its status.</summary>
    /// <exception cref="ModelException">There is none.</exception>
    public static async Task<HttpResponseMessage> Send(HttpMessageInvoker http, string name, string? key, HttpRequestMessage request, ModelDeadline deadline)
    {
        try
        {
            return await http.SendAsync(request, deadline.Token);
        }
        catch (OperationCanceledException e) when (deadline.DescribeTimeout(e) is { } timedOut)
        {
            throw timedOut;
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            throw new ModelException(ModelException.Unavailable, Redact($"The model \"{name}\" cannot be reached: {e.Message}", key), e) { IsUnbilled = WasNotSent(e) };
        }
    }

    /// <summary>The exception for a status that is no success.</summary>
    public static async Task<ModelException> Refusal(string name, string? key, HttpResponseMessage response, ModelDeadline deadline, TimeProvider clock)
    {
        var status = (int)response.StatusCode;
        var error = await ReadError(response, deadline);
        // An account without credit also gets 429, and waiting does not help.
        var mayRetry = status is 408 or 409 or 425 or 429 or >= 500 && !error.IsEmptyAccount;
        var detail = status switch
        {
            401 or 403 => key is null ? ": it requires a key" : ": it rejects the key",
            >= 300 and < 400 => ": it redirects to another address; configure that address",
            _ => "",
        };
        var reason = error.Reason.Length > 0 && status is not (>= 300 and < 400) ? $": {error.Reason}" : "";
        return new(mayRetry ? ModelException.Unavailable : ModelException.Refused, Redact($"The model \"{name}\" answered {status}{detail}{reason}", key))
        {
            RetryAfter = mayRetry ? ProviderError.DelayOf(header => Header(response, header), clock.GetUtcNow()) ?? error.RetryAfter : null,
            IsUnbilled = true,
        };
    }

    /// <summary>Reads what an error's body says, as far as it comes.</summary>
    public static async Task<ProviderError> ReadError(HttpResponseMessage response, ModelDeadline deadline) =>
        ProviderError.Read(await ReadText(response, deadline, RefusalBytesMax));

    /// <summary>Reads a body, as far as it comes and fits.</summary>
    public static async Task<string> ReadText(HttpResponseMessage response, ModelDeadline deadline, int bytesMax)
    {
        using var text = new PooledBuffer(RefusalBytesMax);
        try
        {
            await using var body = await ContentCoding.Open(response.Content, deadline.Token);
            int count;
            while (text.Length < bytesMax && (count = await body.ReadAsync(text.GetMemory(4_096), deadline.Token)) > 0)
            {
                text.Advance(count);
            }
        }
        catch (OperationCanceledException e) when (deadline.DescribeTimeout(e) is not null)
        {
            // What came until then must suffice.
        }
        catch (Exception e) when (e is HttpRequestException or IOException or InvalidDataException)
        {
            // The same.
        }
        return Encoding.UTF8.GetString(text.Written[..Math.Min(text.Length, bytesMax)]);
    }

    /// <summary>The message without secrets, which are removed before it is cut.</summary>
    public static string Redact(string text, string? key) => FileText.Truncate(VisibleText.Of(FileText.OneLine(WithoutSecrets(text, key))), ReasonCharsMax);

    [return: NotNullIfNotNull(nameof(text))]
    public static string? WithoutSecrets(string? text, string? key) =>
        text is null ? null : ProviderError.Redact(text.Length > SearchedCharsMax ? text[..SearchedCharsMax] : text, key);

    /// <summary>True: there was no connection on which the request could go.</summary>
    static bool WasNotSent(Exception e) => e is HttpRequestException
    {
        HttpRequestError: HttpRequestError.NameResolutionError or HttpRequestError.ConnectionError or HttpRequestError.SecureConnectionError
            or HttpRequestError.ProxyTunnelError,
    };

    static string? Header(HttpResponseMessage response, string name) =>
        response.Headers.NonValidated.TryGetValues(name, out var values) ? values.FirstOrDefault() : null;

    static NetworkCredential? CredentialsOf(Uri proxy) =>
        proxy.UserInfo.Split(':', 2) is [{ Length: > 0 } user, var password] ? new(Uri.UnescapeDataString(user), Uri.UnescapeDataString(password)) : null;

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
}
