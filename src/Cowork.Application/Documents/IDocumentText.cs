namespace Cowork.Application;

/// <summary>Extracts the text of documents. The document is untrusted: whatever it holds, the answer is a <see cref="DocumentText"/> within the limits of an extraction.</summary>
public interface IDocumentText
{
    /// <summary>
    /// Reads a document once, from where the stream stands to its end, and answers its text. The content decides what the document is; its name and declared type decide
    /// only between kinds of text that look the same.
    /// </summary>
    /// <param name="name">The document's name with its ending, as the client gave it. It is never used as a path.</param>
    /// <param name="declaredMediaType">The media type that the client gave, possibly with parameters; null: none.</param>
    /// <exception cref="IOException">The document could not be read from its stream, or the extraction could not be started. It can be tried again.</exception>
    Task<DocumentText> Extract(Stream document, string name, string? declaredMediaType, CancellationToken ct);
}
