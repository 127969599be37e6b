using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The result of an extraction. The same document always has the same result, except for the codes of time and memory, which depend on the machine.</summary>
/// <param name="MediaType">What the document is by its content, without parameters: <c>application/pdf</c>; <c>application/octet-stream</c> when it is unknown.</param>
public abstract record DocumentText(string MediaType)
{
    /// <summary>Longest text of a document, in bytes of UTF-8. A longer one is cut after a whole character.</summary>
    public const int BytesMax = 16 * 1024 * 1024;

    /// <summary>The document has text.</summary>
    /// <param name="Utf8">
    /// The text as valid UTF-8 without a byte order mark, at most <see cref="BytesMax"/>, never blank. Lines end with a line feed; pages and slides with a form feed. It has no
    /// other control characters but tabs, so that PostgreSQL can hold it. It is one buffer of the result's own: it can be stored as it is, and decoded piece by piece.
    /// </param>
    /// <param name="IsCut">True when the document has more text than <see cref="BytesMax"/>, or more pages, sheets or cells than an extraction reads.</param>
    public sealed record Extracted(string MediaType, ReadOnlyMemory<byte> Utf8, bool IsCut) : DocumentText(MediaType);

    /// <summary>The document has no text that could be extracted.</summary>
    /// <param name="Code">One of <see cref="DocumentFaults"/>.</param>
    /// <param name="Detail">What is wrong with the document, as a sentence for its owner. It holds nothing of the document's content.</param>
    public sealed record Failed(string Code, string Detail, string MediaType) : DocumentText(MediaType);
}
