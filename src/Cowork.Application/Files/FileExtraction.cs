using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Extracts the text of an uploaded file, keeps it in the blob store, puts it into the index and records what became of it. A host that dies in the middle leaves the
/// job to another one, which does all of it again: what is put twice is there once.
/// </summary>
public sealed class FileExtraction(
    ICommandExecutor commands, CommandHandler known, IDocumentText documents, IBlobs blobs, FileTexts texts) : IJobHandler
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
        if (upload.Sha256 == PersonalAttribute.Digest)
        {
            // It was erased before its text was there.
            return false;
        }
        var document = await Extract(upload, ct);
        string? sha256 = null;
        if (document is DocumentText.Extracted text)
        {
            sha256 = await blobs.For(claim.Org, upload.Subject).Put(text.Utf8, ct);
            await texts.Put(claim.Org, file, upload, sha256, text.Utf8, ct);
        }
        var record = new RecordExtraction(file, document, sha256, claim);
        if (await commands.Execute(claim.Org, System, record, ct, waitForStorage: true) is not { Refused.Code: "not_found" })
        {
            return true;
        }
        // It was deleted meanwhile, and the index has its text again.
        await texts.Remove(claim.Org, file, ct);
        return false;
    }

    async ValueTask<DocumentText> Extract(FileUpload upload, CancellationToken ct)
    {
        await using var content = await blobs.Open(upload.Sha256, ct) ?? throw new InvalidDataException($"The blob {upload.Sha256} is missing.");
        return await documents.Extract(content, upload.Name, upload.DeclaredMediaType, ct);
    }
}
