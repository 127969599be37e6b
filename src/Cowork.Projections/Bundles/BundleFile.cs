using Cowork.Application;
using Cowork.Application.Storage;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>The summary of a sound file of any kind. Members that a kind does not have are null. The texts are what the file says: escape them where they are shown.</summary>
/// <param name="NotCovered">What the format does not cover and later ones do.</param>
/// <param name="Streams">Of a period: how many streams have events in it.</param>
/// <param name="After">Of a period: the events have positions above this one,</param>
/// <param name="Through">and are all of the tenant's up to this one.</param>
/// <param name="Head">Hash of the last event of the stream of the run or session.</param>
/// <param name="Digest">Covers everything: two files with the same one are the same.</param>
public sealed record BundleReport(
    string Format, IReadOnlyList<string> NotCovered, long Events, string Digest, string? TenantId = null, string? RunId = null, string? Status = null, string? SessionId = null,
    int? Runs = null, int? Blobs = null, int? Artifacts = null, int? LeftOut = null, int? Streams = null, long? After = null, long? Through = null, string? Head = null,
    int? Erased = null)
{
    /// <summary>Of a period, or of a run's related events: those that have a tombstone in place of their data.</summary>
    public long? Expired { get; init; }

    /// <summary>The signed head that covers a run's events; null: none does.</summary>
    public TraceSignature? Signature { get; init; }
}

/// <summary>Checks a file by its kind: a bundle of a run, the same with contents, a bundle of a session, an export of a period.</summary>
public static class BundleFile
{
    /// <summary>All formats that are read, of each kind the newest first.</summary>
    public static readonly IReadOnlyList<string> Formats = [.. TraceBundle.Formats, .. SessionBundle.Formats, .. PeriodExport.Formats];

    static ReadOnlySpan<byte> ZipBegin => "PK"u8;

    static ReadOnlySpan<byte> LinesBegin => "{\"format\":\"cowork-"u8;

    /// <summary>The report of a sound file, else the first fault; the other is null.</summary>
    /// <param name="format">The only format that is accepted; null: every one.</param>
    /// <param name="anchors">A signed head that agrees with them must cover what the file has. Null: its key is the file's own.</param>
    /// <param name="before">The export that ends where this one, if it is an export, must begin; null: it may begin anywhere.</param>
    /// <exception cref="IOException">The file cannot be read, or is longer than any that is.</exception>
    /// <exception cref="OperationCanceledException">The check was cancelled.</exception>
    public static async Task<(BundleReport? Report, TraceFault? Fault)> Verify(
        Stream file, string? format, TrustAnchors? anchors, CancellationToken ct, ExportChain? before = null)
    {
        var begin = new byte[LinesBegin.Length];
        var length = await file.ReadAtLeastAsync(begin, begin.Length, throwOnEndOfStream: false, ct);
        try
        {
            if (begin.AsSpan(0, length).StartsWith(ZipBegin))
            {
                if (file.CanSeek)
                {
                    return (OfRun(await ZipVerifier.Check(file, format, anchors, ct)), null);
                }
                await using var copy = await Copy(begin.AsMemory(0, length), file, ct);
                return (OfRun(await ZipVerifier.Check(copy, format, anchors, ct)), null);
            }
            await using var whole = new PrefixedStream(begin.AsMemory(0, length), file);
            if (begin.AsSpan(0, length).SequenceEqual(LinesBegin))
            {
                return (await OfLines(whole, format, anchors, before ?? new(), ct), null);
            }
            var (report, fault) = TraceVerifier.Verify(await RegularFile.Read(whole, TraceVerifier.BundleBytesMax, ct), format, anchors, ct);
            return (report is null ? null : OfRun(report), fault);
        }
        catch (TraceFaultException e)
        {
            return (null, e.Fault);
        }
        catch (Exception e) when (IsUnreadable(e))
        {
            return (null, new("$", $"The data is none that this version writes: {Quoted(e.Message)}"));
        }
    }

    /// <summary>The bundle of a run in a file: the file as it is, or the first entry of an archive with contents. Nothing is proved by reading it.</summary>
    /// <param name="file">It has a length and seeks.</param>
    /// <exception cref="NotSupportedException">The file is a bundle of another kind.</exception>
    /// <exception cref="IOException">The file cannot be read, or is longer than any that is.</exception>
    public static async Task<(byte[]? Bundle, TraceFault? Fault)> ReadRun(Stream file, CancellationToken ct)
    {
        var begin = new byte[LinesBegin.Length];
        var length = await file.ReadAtLeastAsync(begin, begin.Length, throwOnEndOfStream: false, ct);
        if (begin.AsSpan(0, length).SequenceEqual(LinesBegin))
        {
            throw new NotSupportedException("It is the bundle of a session or the export of a period. A replay takes the bundle of a run: GET /runs/ID/trace.");
        }
        file.Position = 0;
        try
        {
            var isZip = begin.AsSpan(0, length).StartsWith(ZipBegin);
            return (isZip ? (await ZipVerifier.Bundle(file, ct)).Bundle : await RegularFile.Read(file, TraceVerifier.BundleBytesMax, ct), null);
        }
        catch (TraceFaultException e)
        {
            return (null, e.Fault);
        }
    }

    static async Task<BundleReport> OfLines(Stream file, string? required, TrustAnchors? anchors, ExportChain before, CancellationToken ct)
    {
        using var lines = new LineReader(file);
        var first = await lines.Next(ct) ?? throw Fault("line 1", "The file is empty.");
        var format = Text(first.Of, "format", first.At);
        Require(required is null || format == required, "line 1.format", $"The format is {Quoted(format)}, and {required} is required.");
        switch (format)
        {
            case PeriodExport.Format or PeriodExport.FirstFormat:
                var period = await PeriodVerifier.Check(lines, first.Of, anchors, before, ct);
                return new(
                    format, format == PeriodExport.Format ? [] : ["a signed head"], period.Events, period.Digest, TenantId: period.TenantId, Streams: period.Streams,
                    After: period.After, Through: period.Through)
                {
                    Signature = period.Signature,
                    Expired = period.Expired > 0 ? period.Expired : null,
                };
            case SessionBundle.Format or SessionBundle.FirstFormat:
                var session = await SessionVerifier.Check(lines, first.Of, anchors, ct);
                return new(
                    format, format == SessionBundle.Format ? [] : ["a signed head"], session.Events, session.Digest, TenantId: session.TenantId, SessionId: session.SessionId,
                    Runs: session.Runs, Blobs: session.Blobs, Erased: session.Erased > 0 ? session.Erased : null, Head: session.Head)
                {
                    Signature = session.Signature,
                };
            default:
                throw Fault("line 1.format", $"The format is none of {string.Join(", ", Formats)}.");
        }
    }

    static BundleReport OfRun(TraceReport run) => new(
        run.Format, run.NotCovered, run.Events, run.Digest, RunId: run.RunId, Status: run.Status, Blobs: run.Blobs, Artifacts: run.Artifacts, LeftOut: run.LeftOut,
        Erased: run.Erased > 0 ? run.Erased : null,
        Head: run.Head)
    {
        Signature = run.Signature,
        Expired = run.Expired > 0 ? run.Expired : null,
    };

    /// <summary>What comes from a pipe, in a file that is gone when it is closed.</summary>
    static async Task<Stream> Copy(ReadOnlyMemory<byte> begin, Stream rest, CancellationToken ct)
    {
        var copy = new FileStream(
            Path.GetTempFileName(), FileMode.Create, FileAccess.ReadWrite, FileShare.None, 64 * 1024, FileOptions.DeleteOnClose | FileOptions.Asynchronous);
        try
        {
            await copy.WriteAsync(begin, ct);
            var piece = new byte[64 * 1024];
            while (await rest.ReadAsync(piece, ct) is > 0 and var read)
            {
                await copy.WriteAsync(piece.AsMemory(0, read), ct);
                if (copy.Length > ZipBundle.ContentBytesMax + TraceVerifier.BundleBytesMax + (16 << 20))
                {
                    throw new IOException("It is longer than any bundle.");
                }
            }
            return copy;
        }
        catch
        {
            await copy.DisposeAsync();
            throw;
        }
    }

    /// <summary>A stream whose begin was read already. It leaves the rest open.</summary>
    sealed class PrefixedStream(ReadOnlyMemory<byte> prefix, Stream rest) : ReadOnlyStream
    {
        ReadOnlyMemory<byte> prefix = prefix;

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            prefix.IsEmpty ? rest.ReadAsync(buffer, cancellationToken) : new(Take(buffer.Span));

        public override int Read(byte[] buffer, int offset, int count) => prefix.IsEmpty ? rest.Read(buffer, offset, count) : Take(buffer.AsSpan(offset, count));

        int Take(Span<byte> buffer)
        {
            var length = Math.Min(prefix.Length, buffer.Length);
            prefix.Span[..length].CopyTo(buffer);
            prefix = prefix[length..];
            return length;
        }
    }
}
