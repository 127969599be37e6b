namespace Cowork.Documents;

/// <summary>The document has no text that can be extracted.</summary>
/// <param name="code">One of <see cref="Domain.DocumentFaults"/>.</param>
/// <param name="detail">A sentence for its owner, without any of the document's content.</param>
sealed class DocumentException(string code, string detail) : Exception(detail)
{
    public string Code => code;
}
