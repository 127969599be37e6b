namespace Cowork.Connectors;

/// <summary>The fence lets no connection through.</summary>
/// <param name="message">A sentence for the user that tells nothing about what is inside.</param>
public sealed class EgressException(string message) : Exception(message);
