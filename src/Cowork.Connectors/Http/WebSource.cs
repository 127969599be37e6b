using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;

using Cowork.Application;

namespace Cowork.Connectors;

/// <summary>Sends requests to web services, below a base URL and within limits, and makes text of what they answer.</summary>
/// <param name="http">Goes through the fence and follows no redirect.</param>
sealed class WebSource(HttpMessageInvoker http)
{
    const int RedirectsMax = 5;

    const int HeaderCharsMax = 1_000;

    /// <summary>The headers that a model is shown: how to go on, and what the body is.</summary>
    static readonly string[] Shown = ["Content-Type", "ETag", "Last-Modified", "Link", "Location", "Retry-After"];

    /// <summary>Sends a request. The time is the caller's.</summary>
    /// <returns>The answer, and its status; 0: there is none.</returns>
    public async ValueTask<(ConnectorAnswer Answer, int Status)> Ask(WebTarget target, WebRequest asked, CancellationToken ct)
    {
        if (target.Base.Below(asked.Call.Path, out var fault) is not { } address)
        {
            return (new ConnectorAnswer.Failed(fault!), 0);
        }
        try
        {
            var (response, refused) = await Send(target, asked.Call, address, asked.IdempotencyToken, ct);
            if (response is null)
            {
                return (new ConnectorAnswer.Failed(refused!), 0);
            }
            using (response)
            {
                return (await Answer(target, response, asked.Limit, ct), (int)response.StatusCode);
            }
        }
        catch (Exception e) when (PlainReason.IsKnown(e))
        {
            return (new ConnectorAnswer.Failed(PlainReason.Of(e, target.Base.Host), IsUnreachable: true), 0);
        }
    }

    /// <summary>The beginning of a document, and its status.</summary>
    /// <param name="headers">Go with the request, and with no redirect.</param>
    /// <exception cref="HttpRequestException">And the others of <see cref="PlainReason.IsKnown"/>: it cannot be had.</exception>
    public async ValueTask<(int Status, BodyText Body)> Fetch(Uri address, IEnumerable<KeyValuePair<string, string>> headers, int bytesMax, CancellationToken ct)
    {
        using var request = NewRequest(HttpMethod.Get, address, headers);
        using var response = await http.SendAsync(request, ct);
        return ((int)response.StatusCode, await BodyText.Read(response.Content, bytesMax, ct));
    }

    /// <summary>The status alone; the body is not read and no redirect followed.</summary>
    /// <exception cref="HttpRequestException">As <see cref="Fetch"/>.</exception>
    public async ValueTask<int> Status(WebTarget target, CancellationToken ct)
    {
        using var request = NewRequest(HttpMethod.Get, target.Base.Address, target.Headers);
        using var response = await http.SendAsync(request, ct);
        return (int)response.StatusCode;
    }

    /// <summary>The response after all redirects, or why one is not followed.</summary>
    async ValueTask<(HttpResponseMessage? Response, string? Refused)> Send(WebTarget target, HttpCall call, Uri address, string? idempotencyToken, CancellationToken ct)
    {
        for (var redirects = 0; ; redirects++)
        {
            using var request = NewRequest(call.Method, address, target.Headers);
            foreach (var (name, value) in call.Headers)
            {
                request.Headers.Remove(name);
                request.Headers.TryAddWithoutValidation(name, value);
            }
            if (idempotencyToken is not null && !request.Headers.Contains("Idempotency-Key"))
            {
                request.Headers.TryAddWithoutValidation("Idempotency-Key", idempotencyToken);
            }
            if (call.Body is not null)
            {
                request.Content = new ByteArrayContent(Encoding.UTF8.GetBytes(call.Body));
                request.Content.Headers.TryAddWithoutValidation("Content-Type", call.ContentType ?? "text/plain; charset=utf-8");
            }
            var response = await http.SendAsync(request, ct);
            if (!call.IsRead || response.Headers.Location is not { } location
                || response.StatusCode is not (HttpStatusCode.MovedPermanently or HttpStatusCode.Found or HttpStatusCode.SeeOther or HttpStatusCode.TemporaryRedirect
                    or HttpStatusCode.PermanentRedirect))
            {
                return (response, null);
            }
            response.Dispose();
            var next = location.IsAbsoluteUri ? location : new(address, location);
            var refused = redirects == RedirectsMax ? $"{target.Base.Host} redirects more than {RedirectsMax} times."
                : target.Base.Contains(next) ? null
                : target.Base.IsSecured(next) ? $"{target.Base.Host} redirects to https. Connect with a base URL that begins with https://."
                : $"{target.Base.Host} redirects out of the connection's base URL.";
            if (refused is not null)
            {
                return (null, refused);
            }
            address = next;
        }
    }

    static HttpRequestMessage NewRequest(HttpMethod method, Uri address, IEnumerable<KeyValuePair<string, string>> headers)
    {
        var request = new HttpRequestMessage(method, address) { Version = HttpVersion.Version20, VersionPolicy = HttpVersionPolicy.RequestVersionOrLower };
        request.Headers.TryAddWithoutValidation("User-Agent", "cowork");
        request.Headers.TryAddWithoutValidation("Accept-Encoding", "gzip, deflate, br");
        foreach (var (name, value) in headers)
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }
        return request;
    }

    static async ValueTask<ConnectorAnswer> Answer(WebTarget target, HttpResponseMessage response, int limit, CancellationToken ct)
    {
        if (response.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.ProxyAuthenticationRequired)
        {
            return new ConnectorAnswer.Failed($"{target.Base.Host} refuses the connection's credentials ({(int)response.StatusCode}).", IsUnreachable: true);
        }
        var head = new StringBuilder().Append(CultureInfo.InvariantCulture, $"HTTP {(int)response.StatusCode}\n");
        foreach (var name in Shown)
        {
            if (response.Headers.NonValidated.TryGetValues(name, out var values) || response.Content.Headers.NonValidated.TryGetValues(name, out values))
            {
                head.Append(CultureInfo.InvariantCulture, $"{name}: {PlainReason.Quoted(values.ToString(), HeaderCharsMax)}\n");
            }
        }
        var body = await BodyText.Read(response.Content, ConnectorLimits.BytesMax - (Shown.Length * HeaderCharsMax * 4), ct);
        var text = body.Text;
        var cut = body.IsCut ? "The answer is longer: this is its beginning." : null;
        if (text is not null && !body.IsCut && FirstElements(text, limit) is { } first)
        {
            (text, cut) = first;
        }
        return new ConnectorAnswer.Text(BodyText.Fit($"{head}\n{text ?? "(The content is no text.)"}", ConnectorLimits.BytesMax), text is null ? null : cut);
    }

    /// <summary>The first elements of a JSON list that has more than a limit; null: the text is no such list.</summary>
    static (string Text, string Cut)? FirstElements(string text, int limit)
    {
        if (!text.AsSpan().TrimStart().StartsWith("["))
        {
            return null;
        }
        try
        {
            using var list = JsonDocument.Parse(text);
            var count = list.RootElement.GetArrayLength();
            if (count <= limit)
            {
                return null;
            }
            var first = list.RootElement.EnumerateArray().Take(limit).Select(element => element.GetRawText());
            return ($"[{string.Join(',', first)}]", $"The list has {count} elements: these are the first {limit}.");
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
