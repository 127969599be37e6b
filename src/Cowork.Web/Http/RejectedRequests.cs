using System.Diagnostics;
using System.IO.Pipelines;

using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Cowork.Web.Http;

/// <summary>
/// Gives the refusals of Kestrel itself the body that all errors have. A request line or headers that it cannot read, or that are too long, never reach the
/// middleware; Kestrel tells of them by a diagnostic event, answers with a head alone and closes the connection. The connection sends the whole error in its place.
/// A connection of HTTP/2 has other requests on it, so that nothing is put in place of what Kestrel sends there: the status alone.
/// </summary>
sealed class RejectedRequests(IServiceProvider services) : IObserver<KeyValuePair<string, object?>>
{
    const string Rejected = "Microsoft.AspNetCore.Server.Kestrel.BadRequest";

    /// <summary>Lets the connections of an endpoint send such errors.</summary>
    public static void Use(ListenOptions endpoint) => endpoint.Use(next => connection =>
    {
        var output = new Output(connection.Transport.Output);
        connection.Items[typeof(Output)] = output;
        connection.Transport = new Transport(connection.Transport.Input, output);
        return next(connection);
    });

    /// <summary>Listens to the event until the answer is disposed.</summary>
    public static IDisposable Listen(IServiceProvider services) =>
        services.GetRequiredService<DiagnosticListener>().Subscribe(new RejectedRequests(services), (name, _, _) => name == Rejected);

    public void OnNext(KeyValuePair<string, object?> value)
    {
        // What fails once a request has an endpoint, for example a chunk of its body, is answered by the middleware.
        if (value.Value is not IFeatureCollection features
            || features.Get<IHttpResponseFeature>() is not { HasStarted: false } head
            || features.Get<IEndpointFeature>()?.Endpoint is not null
            || HttpProtocol.IsHttp2(features.Get<IHttpRequestFeature>()?.Protocol ?? "")
            || features.Get<IConnectionItemsFeature>()?.Items[typeof(Output)] is not Output output)
        {
            return;
        }
        using var body = new MemoryStream();
        var answer = new DefaultHttpContext { RequestServices = services };
        answer.Response.Body = body;
        // What Kestrel has read of the address says whose form the error has.
        answer.Request.Path = features.Get<IHttpRequestFeature>()?.Path is ['/', ..] path ? path : "/";
        var headers = string.Concat(services.GetRequiredService<Dialects>().Of(answer).Headers.Select(header => $"{header.Name}: {header.Value}\r\n"));
        // Nothing in it waits: it is written into memory.
        ErrorResult.OfStatus(head.StatusCode).ExecuteAsync(answer).GetAwaiter().GetResult();
        var isHead = features.Get<IHttpRequestFeature>()?.Method == HttpMethods.Head;
        output.EndWith(RawResponse.Of(
            head.StatusCode, answer.Response.ContentType!, $"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{headers}", body.ToArray(), isHead));
    }

    public void OnCompleted()
    {
    }

    public void OnError(Exception error)
    {
    }

    sealed record Transport(PipeReader Input, PipeWriter Output) : IDuplexPipe;

    /// <summary>What a connection sends. A last answer of our own takes the place of the one that the server writes.</summary>
    sealed class Output(PipeWriter inner) : PipeWriter
    {
        byte[]? last;
        byte[] unsent = [];

        public override bool CanGetUnflushedBytes => inner.CanGetUnflushedBytes;

        public override long UnflushedBytes => inner.UnflushedBytes;

        public void EndWith(byte[] response) => last = response;

        public override Memory<byte> GetMemory(int sizeHint = 0) => last is null ? inner.GetMemory(sizeHint) : Unsent(sizeHint);

        public override Span<byte> GetSpan(int sizeHint = 0) => last is null ? inner.GetSpan(sizeHint) : Unsent(sizeHint);

        public override void Advance(int bytes)
        {
            if (last is null)
            {
                inner.Advance(bytes);
            }
        }

        public override ValueTask<FlushResult> WriteAsync(ReadOnlyMemory<byte> source, CancellationToken cancellationToken = default) =>
            last is null ? inner.WriteAsync(source, cancellationToken) : FlushAsync(cancellationToken);

        public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
        {
            if (last is not { Length: > 0 } response)
            {
                return inner.FlushAsync(cancellationToken);
            }
            last = [];
            return inner.WriteAsync(response, cancellationToken);
        }

        public override void CancelPendingFlush() => inner.CancelPendingFlush();

        public override void Complete(Exception? exception = null) => inner.Complete(exception);

        public override ValueTask CompleteAsync(Exception? exception = null) => inner.CompleteAsync(exception);

        byte[] Unsent(int sizeHint) => unsent = unsent.Length >= Math.Max(sizeHint, 1) ? unsent : new byte[Math.Max(sizeHint, 4096)];
    }
}
