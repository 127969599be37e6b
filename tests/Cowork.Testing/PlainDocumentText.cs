using System.Text;

using Cowork.Application;
using Cowork.Domain;

namespace Cowork.Testing;

/// <summary>Extracts the text of plain text, in this process and without limits of time; other documents have none.</summary>
public sealed class PlainDocumentText : IDocumentText
{
    public async Task<DocumentText> Extract(Stream document, string name, string? declaredMediaType, CancellationToken ct)
    {
        using var bytes = new MemoryStream();
        await document.CopyToAsync(bytes, ct);
        if (bytes.Length == 0)
        {
            return new DocumentText.Failed(DocumentFaults.EmptyFile, "The file is empty.", "application/octet-stream");
        }
        return FileText.Decode(bytes.GetBuffer().AsSpan(0, (int)bytes.Length)) is { } text && !string.IsNullOrWhiteSpace(text)
            ? new DocumentText.Extracted("text/plain", Encoding.UTF8.GetBytes(text.ReplaceLineEndings("\n")), IsCut: false)
            : new DocumentText.Failed(DocumentFaults.NoText, "The file has no text.", "application/octet-stream");
    }
}
