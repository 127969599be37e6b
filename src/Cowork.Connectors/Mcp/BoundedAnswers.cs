using System.Net;

namespace Cowork.Connectors;

/// <summary>Bounds what a server answers: a body that is no stream of events is one message.</summary>
/// <param name="onStrange">Is told of an answer that is no message, in words that follow the server's name.</param>
sealed class BoundedAnswers(HttpMessageHandler inner, int bytesMax, Action<MessageTooLongException> onTooLong, Action<string> onStrange) : DelegatingHandler(inner)
{
    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        var response = await base.SendAsync(request, cancellationToken);
        var type = response.Content.Headers.ContentType?.MediaType;
        if (response.IsSuccessStatusCode && type is not (null or "application/json" or "text/event-stream"))
        {
            onStrange($"it answers {PlainReason.Quoted(type, 100)}, which is no MCP: is the address right?");
        }
        var end = type == "text/event-stream" ? MessageEnd.BlankLine : MessageEnd.Stream;
        var content = new BoundedContent(response.Content, end, bytesMax, onTooLong);
        foreach (var (name, values) in response.Content.Headers.NonValidated)
        {
            content.Headers.TryAddWithoutValidation(name, values);
        }
        response.Content = content;
        return response;
    }

    sealed class BoundedContent(HttpContent content, MessageEnd end, int bytesMax, Action<MessageTooLongException> onTooLong) : HttpContent
    {
        protected override async Task<Stream> CreateContentReadStreamAsync() => Bounded(await content.ReadAsStreamAsync());

        protected override async Task<Stream> CreateContentReadStreamAsync(CancellationToken cancellationToken) => Bounded(await content.ReadAsStreamAsync(cancellationToken));

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            await using var bounded = await CreateContentReadStreamAsync();
            await bounded.CopyToAsync(stream);
        }

        protected override bool TryComputeLength(out long length)
        {
            length = content.Headers.ContentLength ?? -1;
            return length >= 0;
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                content.Dispose();
            }
            base.Dispose(disposing);
        }

        BoundedStream Bounded(Stream stream) => new(stream, end, bytesMax, onTooLong);
    }
}
