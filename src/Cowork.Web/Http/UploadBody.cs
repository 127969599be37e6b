using System.Buffers;
using System.IO.Pipelines;

using Cowork.Application.Storage;

namespace Cowork.Web.Http;

/// <summary>
/// The body of a request as it comes, of any size. It has no total deadline: its sender may take <see cref="HttpLimits.BodyTimeout"/>, and beyond that as long as bytes
/// come at <see cref="BytesPerSecondMin"/> on the average. Only time counts in which the host waits for the sender.
/// </summary>
/// <param name="bytesMax">Most bytes of the body.</param>
/// <param name="tooLarge">The error of a larger one.</param>
sealed class UploadBody(HttpContext http, long bytesMax, ErrorResult tooLarge) : ReadOnlyStream
{
    /// <summary>The slowest average: a mobile telephone in a bad place sends more.</summary>
    public const int BytesPerSecondMin = 8 * 1024;

    readonly PipeReader reader = http.Request.BodyReader;
    readonly TimeProvider clock = http.RequestServices.GetRequiredService<TimeProvider>();
    readonly TimeSpan grace = http.RequestServices.GetRequiredService<HttpLimits>().BodyTimeout;
    long received;
    TimeSpan waited;

    /// <exception cref="UnreadableRequestException">408: the sender is too slow. 413: it sends too much.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (buffer.IsEmpty)
        {
            return 0;
        }
        var read = reader.TryRead(out var there) ? there : await Wait(cancellationToken);
        var count = (int)Math.Min(read.Buffer.Length, buffer.Length);
        var some = read.Buffer.Slice(0, count);
        some.CopyTo(buffer.Span);
        reader.AdvanceTo(some.End);
        received += count;
        return received <= bytesMax ? count : throw new UnreadableRequestException(tooLarge);
    }

    async ValueTask<ReadResult> Wait(CancellationToken ct)
    {
        while (true)
        {
            var left = grace + TimeSpan.FromSeconds(received / (double)BytesPerSecondMin) - waited;
            if (left <= TimeSpan.Zero)
            {
                throw new UnreadableRequestException(ErrorResult.OfStatus(408));
            }
            var began = clock.GetTimestamp();
            ReadResult read;
            // A read that a token cancels leaves the server a reader that it cannot close.
            await using (clock.CreateTimer(static of => ((PipeReader)of!).CancelPendingRead(), reader, left, Timeout.InfiniteTimeSpan))
            {
                read = await reader.ReadAsync(ct);
            }
            waited += clock.GetElapsedTime(began);
            if (!read.Buffer.IsEmpty || read.IsCompleted)
            {
                return read;
            }
            reader.AdvanceTo(read.Buffer.Start);
        }
    }
}
