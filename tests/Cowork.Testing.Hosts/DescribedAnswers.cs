using System.Net;

namespace Cowork.Testing.Hosts;

/// <summary>
/// Compares every answer with what /openapi.json says of it: status, content type and body. A difference fails the spec that reads the answer. A stream of events is
/// compared by its head; an answer that nobody reads to its end, by its head too.
/// </summary>
sealed class DescribedAnswers(HttpMessageHandler inner) : DelegatingHandler(inner)
{
    static readonly SemaphoreSlim Describing = new(1, 1);

    /// <summary>All hosts of a process describe themselves alike.</summary>
    static ApiDescription? _description;

    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        var response = await base.SendAsync(request, cancellationToken);
        var description = _description ?? await Describe(request.RequestUri!, cancellationToken);
        if (description is null)
        {
            return response;
        }
        var (method, path, status, type) = (request.Method.Method, request.RequestUri!.AbsolutePath, (int)response.StatusCode, response.Content.Headers.ContentType?.MediaType);
        var isRepeated = response.Headers.Contains("Idempotency-Replayed");
        string? Fault(ReadOnlySpan<byte> body, bool isWhole) => description.Fault(method, path, status, type, body, isWhole, isRepeated);
        FailOn(Fault(default, isWhole: false));
        if (type is "application/json" or "application/problem+json")
        {
            response.Content = new ComparedContent(response.Content, body => FailOn(Fault(body, isWhole: true)));
        }
        else if (type is not null)
        {
            FailOn(Fault(default, isWhole: true));
        }
        return response;
    }

    static void FailOn(string? fault)
    {
        if (fault is not null)
        {
            Assert.Fail(fault);
        }
    }

    /// <summary>Null: the host does not answer with its description, because it is starting or its database is away.</summary>
    async Task<ApiDescription?> Describe(Uri host, CancellationToken ct)
    {
        await Describing.WaitAsync(ct);
        try
        {
            if (_description is null)
            {
                using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(host, "/openapi.json"));
                using var response = await base.SendAsync(request, ct);
                _description = response.StatusCode == HttpStatusCode.OK ? ApiDescription.Read(await response.Content.ReadAsStringAsync(ct)) : null;
            }
            return _description;
        }
        finally
        {
            Describing.Release();
        }
    }

    /// <summary>A content that is looked at when it has been read whole.</summary>
    sealed class ComparedContent : HttpContent
    {
        readonly HttpContent content;
        readonly Action<ReadOnlySpan<byte>> compare;

        public ComparedContent(HttpContent content, Action<ReadOnlySpan<byte>> compare)
        {
            (this.content, this.compare) = (content, compare);
            foreach (var (name, values) in content.Headers.NonValidated)
            {
                Headers.TryAddWithoutValidation(name, values);
            }
        }

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            var body = await content.ReadAsByteArrayAsync();
            compare(body);
            await stream.WriteAsync(body);
        }

        protected override async Task<Stream> CreateContentReadStreamAsync() => new ComparedStream(await content.ReadAsStreamAsync(), compare);

        protected override bool TryComputeLength(out long length) => (length = content.Headers.ContentLength ?? -1) >= 0;

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                content.Dispose();
            }
            base.Dispose(disposing);
        }
    }

    /// <summary>Keeps what is read, for a look at the whole at its end.</summary>
    sealed class ComparedStream(Stream inner, Action<ReadOnlySpan<byte>> compare) : Stream
    {
        readonly MemoryStream seen = new();

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override int Read(byte[] buffer, int offset, int count) => Seen(buffer.AsSpan(offset, count)[..inner.Read(buffer, offset, count)]);

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var read = await inner.ReadAsync(buffer, cancellationToken);
            return Seen(buffer.Span[..read]);
        }

        public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
            ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                inner.Dispose();
                seen.Dispose();
            }
            base.Dispose(disposing);
        }

        int Seen(ReadOnlySpan<byte> read)
        {
            seen.Write(read);
            if (read.IsEmpty)
            {
                compare(seen.GetBuffer().AsSpan(0, (int)seen.Length));
            }
            return read.Length;
        }
    }
}
