using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Extracts the text of an uploaded file, keeps it in the blob store, puts it into the index and records what became of it. A host that dies in the middle leaves the
/// job to another one, which does all of it again: what is put twice is there once.
/// </summary>
/// <param name="searches">Gives places in which texts are held in memory.</param>
public sealed class FileExtraction(
    ICommandExecutor commands, CommandHandler known, IDocumentText documents, IBlobs blobs, ITexts texts, SessionFiles searches) : IJobHandler
{
    /// <summary>The job's key is the file's.</summary>
    public const string JobKind = "file_extraction";

    static readonly Origin System = new("system");

    public string Kind => JobKind;

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        var file = new FileKey(claim.Key);
        if (await known.LatestState(claim.Org, UploadedFile.Aggregate, file, ct) is not UploadedFile.Processing { File: var upload })
        {
            return false;
        }
        var document = await Extract(upload, ct);
        string? sha256 = null;
        if (document is DocumentText.Extracted text)
        {
            sha256 = await blobs.Put(text.Utf8, ct);
            using var place = await searches.EnterBackground(claim.Org, ct);
            var index = TextIndex.Of(upload.Name, Encoding.UTF8.GetString(text.Utf8.Span), ct: ct);
            await texts.Put(claim.Org, new(TextKey.OfFile(file), upload.Name), new(upload.Name, sha256, sha256, null), ScopesOf(upload), index, ct);
        }
        var record = new RecordExtraction(file, document, sha256, claim);
        if (await commands.Execute(claim.Org, System, record, ct, waitForStorage: true) is not { Refused.Code: "not_found" })
        {
            return true;
        }
        // It was deleted meanwhile, and the index has its text again.
        await texts.Remove(claim.Org, TextKey.OfFile(file), null, ct);
        return false;
    }

    async ValueTask<DocumentText> Extract(FileUpload upload, CancellationToken ct)
    {
        await using var content = await blobs.Open(upload.Sha256, ct) ?? throw new InvalidDataException($"The blob {upload.Sha256} is missing.");
        return await documents.Extract(content, upload.Name, upload.DeclaredMediaType, ct);
    }

    /// <summary>Where the file's text is searched.</summary>
    static IReadOnlyList<string> ScopesOf(FileUpload upload) =>
    [
        TextScope.Uploads,
        .. upload.ProjectId is { } project ? [TextScope.Project(project)] : upload.SessionId is null ? [TextScope.Project(ProjectKey.General)] : Array.Empty<string>(),
        .. upload.SessionId is { } session ? [TextScope.Conversation(session)] : Array.Empty<string>(),
    ];
}
