namespace Cowork.Domain;

/// <summary>The codes of a document whose text could not be extracted.</summary>
public static class DocumentFaults
{
    /// <summary>The document has no bytes.</summary>
    public const string EmptyFile = "empty_file";

    /// <summary>The document is a picture, a program or another kind that has no text, or a readable document without any, such as a scanned PDF.</summary>
    public const string NoText = "no_text";

    /// <summary>The content is not what the name or the declared type says, and is no text either: a program called <c>.pdf</c>, an archive called <c>.docx</c>.</summary>
    public const string WrongType = "wrong_type";

    /// <summary>The PDF or the Office document opens only with a password.</summary>
    public const string EncryptedDocument = "encrypted_document";

    /// <summary>The document is damaged, or is built in a way that its format does not allow.</summary>
    public const string BrokenDocument = "broken_document";

    /// <summary>The document unpacks to far more than a document of its size should.</summary>
    public const string CompressionBomb = "compression_bomb";

    /// <summary>The extraction took longer than it may.</summary>
    public const string ExtractionTimeout = "extraction_timeout";

    /// <summary>The extraction took more memory than it may.</summary>
    public const string ExtractionMemory = "extraction_memory";

    /// <summary>The process that read the document ended without a result, again when it was tried once more.</summary>
    public const string ExtractionFailed = "extraction_failed";
}
