using System.Text;

using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>Puts the texts of uploaded files into the index, and puts those again that the index has lost.</summary>
/// <param name="searches">Gives places in which texts are held in memory.</param>
public sealed partial class FileTexts(ITexts texts, IBlobs blobs, IFileQueries files, SessionFiles searches, TimeProvider clock, ILogger<FileTexts> logger)
{
    /// <summary>Files that are looked up at once.</summary>
    const int FilesMax = 1_000;

    static readonly TimeSpan LookEvery = TimeSpan.FromHours(1);

    /// <summary>Puts a file's text in, in the place of one that is there.</summary>
    /// <param name="sha256">The text's digest.</param>
    public async ValueTask Put(string org, FileKey file, FileUpload upload, string sha256, ReadOnlyMemory<byte> utf8, CancellationToken ct)
    {
        using var place = await searches.EnterBackground(org, ct);
        var index = TextIndex.Of(upload.Name, Encoding.UTF8.GetString(utf8.Span), ct: ct);
        await texts.Put(org, new(TextKey.OfFile(file), upload.Name), new(upload.Name, sha256, sha256, null), ScopesOf(upload), index, ct);
    }

    public ValueTask Remove(string org, FileKey file, CancellationToken ct) => texts.Remove(org, TextKey.OfFile(file), null, ct);

    /// <summary>Puts back what the index has lost, now and every hour, until it is told to stop.</summary>
    public async Task Run(CancellationToken ct)
    {
        try
        {
            using var hourly = new PeriodicTimer(LookEvery, clock);
            do
            {
                await Restore(ct);
            }
            while (await hourly.WaitForNextTickAsync(ct));
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // Told to stop. The next start looks again.
        }
    }

    /// <summary>Puts back what the index has lost. What fails is logged, and looked at again the next time.</summary>
    public async ValueTask Restore(CancellationToken ct)
    {
        try
        {
            for (MissingText? last = null; await texts.Missing(last, FilesMax, ct) is [.., var end] missing; last = end)
            {
                foreach (var (org, file) in missing)
                {
                    await Restore(org, file, ct);
                }
            }
        }
#pragma warning disable CA1031 // Whatever fails is logged, and found missing the next time.
        catch (Exception e) when (!ct.IsCancellationRequested)
#pragma warning restore CA1031
        {
            LogFailed(logger, e);
        }
    }

    async ValueTask Restore(string org, FileKey file, CancellationToken ct)
    {
        if (await files.TextOf(org, file, ct) is not ({ } upload, { } text))
        {
            return;
        }
        if (await blobs.Get(text.Sha256, ct) is not { } utf8)
        {
            LogBlobMissing(logger, text.Sha256, file);
            return;
        }
        await Put(org, file, upload, text.Sha256, utf8, ct);
        LogRestored(logger, file);
        if (await files.TextOf(org, file, ct) is null)
        {
            // It was deleted meanwhile.
            await Remove(org, file, ct);
        }
    }

    /// <summary>Where the file's text is searched.</summary>
    static IReadOnlyList<string> ScopesOf(FileUpload upload) =>
    [
        TextScope.Uploads,
        .. upload.ProjectId is { } project ? [TextScope.Project(project)] : upload.SessionId is null ? [TextScope.Project(ProjectKey.General)] : Array.Empty<string>(),
        .. upload.SessionId is { } session ? [TextScope.Conversation(session)] : Array.Empty<string>(),
    ];

    [LoggerMessage(Level = LogLevel.Warning, Message = "Texts that the index has lost could not be put back; that is tried again within the hour")]
    static partial void LogFailed(ILogger logger, Exception e);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The text {Sha256} of the file {File} is not in the blob store, and so not searched")]
    static partial void LogBlobMissing(ILogger logger, string sha256, FileKey file);

    [LoggerMessage(Level = LogLevel.Information, Message = "The index had lost the text of the file {File}, and has it again")]
    static partial void LogRestored(ILogger logger, FileKey file);
}
